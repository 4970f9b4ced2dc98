"""Weights that ship with the package; README.md says where each file comes from."""
