"""The talking heads of Synthetic: one script of visemes drives a voice and a face."""
