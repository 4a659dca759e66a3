"""Scores of generated images, and the extractor they are taken with. See `docs/metrics.md`.

`frechet`, `kernel` and `label_accuracy` are plain NumPy and know nothing of networks;
`smallcnn` and `classifier` make the feature extractor; `evaluate` puts them together.
"""
