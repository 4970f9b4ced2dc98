"""Diff2Lip on PyTorch Lightning: train, evaluate and run audio-conditioned diffusion for lip-sync."""
