"""Pipelines, one a file: a ganpipe experiment config plus a `pipeline` section."""
