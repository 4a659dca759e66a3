"""Command-line verbs: `python -m ganpipe VERB`, one module each."""
