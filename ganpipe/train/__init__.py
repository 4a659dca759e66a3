"""Training: run folders, checkpoints, distribution, summaries and the loop."""
