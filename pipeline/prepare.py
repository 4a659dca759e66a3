"""Turns real images into a data folder for training: TFRecord shards at every power of two.

  python -m pipeline.prepare --source=fashion_mnist --out=data/fashion32
  python -m pipeline.prepare --source=folder:photos --out=data/photos64 --resolution=64
  python -m pipeline.prepare --source=tfds:cifar10 --out=data/cifar32

Classes are the sub-folders of a folder, or the labels of the set. Pictures that cannot be read, or
are smaller than the resolution, are left out and listed in OUT/quarantine.jsonl; more than 5 % of
them stop the run. Running the same command again does nothing. Apache Beam's own flags go through
--beam, for instance

  python -m pipeline.prepare --source=folder:photos --out=data/photos64 --resolution=64 \\
    --beam=--direct_num_workers=4 --beam=--direct_running_mode=multi_processing

docs/data.md tells the rest.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

if TYPE_CHECKING:
    from ganpipe.data import DatasetInfo

FLAGS = flags.FlagValues()
_define = {"flag_values": FLAGS}
flags.DEFINE_string(
    "source",
    None,
    "Where the images come from: fashion_mnist, folder:DIR or tfds:NAME[/CONFIG][:VERSION].",
    **_define,
)
flags.DEFINE_string("out", None, "Data folder to make.", **_define)
flags.DEFINE_integer(
    "resolution",
    32,
    "Side of the largest images in pixels, a power of two from 4 to 1024; all smaller powers of "
    "two from 4 are made with it.",
    **_define,
)
flags.DEFINE_integer(
    "channels", 0, "1 (grey) or 3 (RGB); 0 keeps grey if all images are grey, else RGB.", **_define
)
flags.DEFINE_enum(
    "fit",
    "crop",
    ["crop", "pad", "stretch"],
    "How pictures become square: centre crop, black borders, or a change of aspect ratio.",
    **_define,
)
flags.DEFINE_bool("upscale", False, "Allow pictures smaller than --resolution.", **_define)
flags.DEFINE_float(
    "test_fraction",
    0.1,
    "Share of the images kept back as test split where the source has none; 0 keeps none.",
    **_define,
)
flags.DEFINE_integer("seed", 0, "Decides the order in which the images are written.", **_define)
flags.DEFINE_string("name", None, "Name in reports; the source's own by default.", **_define)
flags.DEFINE_string(
    "tfds_data_dir",
    None,
    "Where tensorflow-datasets keeps its data; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.",
    **_define,
)
flags.DEFINE_multi_string(
    "beam", [], "A flag for Apache Beam, e.g. --beam=--direct_num_workers=4; repeatable.", **_define
)


def main(args: list[str]) -> int | None:
    """Prepares the data and prints what was made."""
    if args:
        raise UserError(f"unexpected argument {args[0]!r}; everything is given by --flag=value")
    if not FLAGS.source:
        raise UserError(
            "--source is missing; for example --source=fashion_mnist or --source=folder:photos"
        )
    if not FLAGS.out:
        raise UserError("--out is missing; give the folder to make, for example --out=data/faces64")
    started = time.monotonic()
    # Late: Beam takes seconds to import, and --help should not.
    from pipeline import beam_options
    from pipeline.components import example_gen

    existed = (Path(FLAGS.out) / "dataset.json").exists()
    data = example_gen.run(
        FLAGS.source,
        FLAGS.out,
        resolution=FLAGS.resolution,
        channels=FLAGS.channels,
        fit=FLAGS.fit,
        seed=FLAGS.seed,
        beam_options=beam_options.parse(FLAGS.beam) if FLAGS.beam else None,
        upscale=FLAGS.upscale,
        test_fraction=FLAGS.test_fraction,
        name=FLAGS.name,
        tfds_data_dir=FLAGS.tfds_data_dir,
    )
    print(summary(data, None if existed else time.monotonic() - started))
    return None


def summary(data: "DatasetInfo", seconds: float | None) -> str:
    """What a data folder holds, in a few lines for people; `seconds` is None if it was there."""
    top = data.max_resolution
    size = sum(s["bytes"] for levels in data.shards.values() for e in levels.values() for s in e)
    counts = ", ".join(f"{data.count(split):,} {split}" for split in data.splits)
    images = sum(data.count(split) for split in data.splits)
    lines = [
        f"{data.name}: {counts} images, {top}x{top}x{data.channels}, levels "
        + " ".join(map(str, data.resolutions)),
        f"classes: {data.num_classes} ({', '.join(data.class_names[:12])}"
        + (", ..." if data.num_classes > 12 else "")
        + ")"
        if data.num_classes
        else "classes: none",
        f"geometry: {data.geometry}",
    ]
    if data.skipped:
        lines.append(f"left out: {data.skipped} pictures, listed in {data.dir}/quarantine.jsonl")
    speed = "" if seconds is None else f" in {seconds:.1f} s, {images / seconds:,.0f} images/s"
    lines.append(
        f"{'there already:' if seconds is None else 'wrote'} {data.dir} ({size / 1e6:.1f} MB)"
        f"{speed}; fingerprint {data.fingerprint[:12]}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main, FLAGS)
