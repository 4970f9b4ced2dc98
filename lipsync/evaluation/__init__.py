"""Evaluation: the protocols, their tables with intervals, a report to look at, and runs side by side."""
