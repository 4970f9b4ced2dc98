"""Corpora on disk and the LightningDataModules that stream them."""
