"""Write a grid of images of a run's averaged generator.

  python -m ganpipe sample --run=runs/a --n=64 --seed=1 --out=grid.png
  python -m ganpipe sample --run=runs/a --n=8 --labels=0,3,5 --truncation=0.7 --out=grid.png

Image i has the seed --seed + i. With --labels there are --n images of each class, one class a row.
"""

from pathlib import Path

import numpy as np
from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "run folder", flag_values=FLAGS)
flags.DEFINE_integer("n", 64, "images (of each label)", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "seed of the first image", flag_values=FLAGS)
flags.DEFINE_list("labels", None, "classes, for example 0,3,5", flag_values=FLAGS)
flags.DEFINE_float(
    "truncation",
    1.0,
    "1 = whole latent distribution, 0 = its mean",
    lower_bound=-2.0,
    upper_bound=2.0,
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "noise",
    "random",
    ["random", "const", "none"],
    "of StyleGAN and StyleGAN2: drawn from the seed, the network's own maps, or none",
    flag_values=FLAGS,
)
flags.DEFINE_string("out", None, "PNG to write", flag_values=FLAGS)


def main(arguments: list[str]) -> None:
    """Entry point."""
    if arguments:
        raise UserError(f"unexpected argument(s): {' '.join(arguments)}")
    for name in ("run", "out"):
        if not FLAGS[name].value:
            raise UserError(f"--{name} is missing")
    try:
        classes = [int(label) for label in FLAGS.labels or []]
    except ValueError as error:
        raise UserError(f"--labels={','.join(FLAGS.labels)}: expected class numbers") from error
    out = Path(FLAGS.out)
    if not out.parent.is_dir():
        raise UserError(f"--out={out}: folder {out.parent} does not exist")
    app.import_tensorflow()
    import ganpipe
    from ganpipe.ops import images as image_ops
    from ganpipe.train import callbacks

    system = ganpipe.load(FLAGS.run)
    count = FLAGS.n * max(len(classes), 1)
    labels = np.repeat(classes, FLAGS.n) if classes else None
    images = system.sample(count, FLAGS.seed, labels, FLAGS.truncation, noise=FLAGS.noise)
    callbacks.write_png(out, image_ops.grid(images, FLAGS.n if classes else None))
    print(f"{count} images: {out}")
