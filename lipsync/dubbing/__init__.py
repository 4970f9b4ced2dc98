"""Dubbing as stages over a bounded stream: read, track, generate, composite, write."""
