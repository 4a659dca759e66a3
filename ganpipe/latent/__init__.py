"""What one does with the latents of a trained system: a module for each `--mode` of the verb.

Every mode's function takes a built system (or a `space.Space` of it) and plain settings, and gives
an `outcome.Outcome`: pictures, films, arrays and figures, in memory. `ganpipe.cli.latent` reads the
command line, loads the run and writes the files.
"""
