"""Experiments, one a file: `get_config(variant="")` returns an `ml_collections.ConfigDict`."""
