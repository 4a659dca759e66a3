"""What runs beside a model: `serving.server`, `serving.client` and configuration files.

Nothing here imports `ganpipe`: a SavedModel and this package are enough to serve and to ask.
"""
