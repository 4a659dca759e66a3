"""`python -m ganpipe VERB [flags]`.

Verbs:
  train   train a system from a config, or continue a run
  eval    score a run against held-out images
  compare tables and curves of several runs' scores
  sample  write a grid of images of a run
  latent  pictures of the latents: interpolation, style mixing, projection, directions ...
  import  make a run of published weights (ProGAN, StyleGAN, StyleGAN2), or write official names
  export  write a run as a SavedModel for TensorFlow Serving
  defend  attack a classifier, defend it with Defense-GAN, measure both
  study   toy experiments: divergences, landscapes, gradients, mixtures

`python -m ganpipe VERB --help` explains the flags of a verb.
"""

import difflib
import importlib
import sys

from ganpipe.cli import app

VERBS = (
    "train",
    "eval",
    "compare",
    "sample",
    "latent",
    "import",
    "export",
    "study",
    "defend",
)
MODULES = {"import": "import_weights"}  # a word that Python keeps for itself


def main() -> None:
    """Dispatches to `ganpipe.cli.VERB`."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        print(__doc__.strip())
        sys.exit(0 if len(sys.argv) >= 2 else 2)
    verb = sys.argv[1]
    if verb not in VERBS:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        print(f"error: unknown verb {verb!r}.{hint} Verbs: {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2)
    module = importlib.import_module(f"ganpipe.cli.{MODULES.get(verb, verb)}")
    app.run(module.main, module.FLAGS, sys.argv[2:])


if __name__ == "__main__":
    main()
