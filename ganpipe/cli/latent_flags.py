"""Flags of `ganpipe latent`: which mode uses which, and what can be refused before any work.

A flag that is given and changes nothing is an error: whoever gave it believes that it does.
"""

import math
from pathlib import Path

from absl import flags

from ganpipe.errors import UserError
from ganpipe.latent import requests

FLAGS = flags.FlagValues()

# Flags that each mode takes beside `COMMON`.
_TAKES = {
    "interpolate": "seeds labels space frames interpolation loop truncation cutoff films fps",
    "walk": "labels walkers frames harmonics seed truncation cutoff films fps",
    "truncate": "seeds labels psi cutoff",
    "arithmetic": "a b c seeds labels space jitter scales seed truncation cutoff",
    "mix": "rows columns styles labels truncation cutoff",
    "project": "images splits count labels space distance steps learning_rate restarts "
    "noise_weight chunk seed data cache_dir",
    "ablate": "seeds labels attribute mask layer drop penalty frechet seed data cache_dir "
    "truncation",
    "blobs": "seeds labels truncation",
    "directions": "seeds labels space method count styles scales attribute samples data cache_dir "
    "truncation cutoff",
}
COMMON = ("run", "mode", "out", "name", "step")
MODES = {
    # A projection descends by --chunk.
    mode: takes.split() + ([] if mode == "project" else ["batch_size"])
    for mode, takes in _TAKES.items()
}
FILMS = ("interpolate", "walk")
# Image i of a seed has the number seed * 10^9 + i, of 64 bits; as in eval.
MOST_SEED = 9 * 10**9


def users(name: str) -> str:
    """The modes that use a flag, for messages: "walk, mix"."""
    return ", ".join(mode for mode, takes in MODES.items() if name in takes)


def _define() -> None:
    def told(name: str, help_text: str) -> str:
        return help_text if name in COMMON else f"{help_text} [{users(name)}]"

    def text(name: str, default: str | None, help_text: str) -> None:
        flags.DEFINE_string(name, default, told(name, help_text), flag_values=FLAGS)

    def texts(name: str, default: list[str] | None, help_text: str) -> None:
        flags.DEFINE_list(name, default, told(name, help_text), flag_values=FLAGS)

    def whole(name: str, default: int | None, help_text: str, least: int | None = 1) -> None:
        flags.DEFINE_integer(
            name, default, told(name, help_text), lower_bound=least, flag_values=FLAGS
        )

    def number(name: str, default: float, help_text: str) -> None:
        flags.DEFINE_float(name, default, told(name, help_text), flag_values=FLAGS)

    def switch(name: str, help_text: str) -> None:
        flags.DEFINE_bool(name, False, told(name, help_text), flag_values=FLAGS)

    text("run", None, "run folder")
    text("mode", None, f"one of {', '.join(MODES)}")
    text("out", None, "folder to write to; default: RUN/latent")
    text("name", None, "of the files; default: the mode")
    whole("step", None, "checkpoint; default: the newest", 0)
    whole("batch_size", 16, "pictures computed at once")
    text("seeds", None, "such as 0-7 or 1,4,9 (arithmetic: without --c)")
    texts("labels", None, "of conditional runs: one class for all, or one a seed; default: drawn")
    number("truncation", 1.0, "psi: 1 truncates nothing, 0 is the mean; -2 to 2")
    whole("cutoff", None, "style layers below it are truncated; default: the generator's own", 0)
    text("space", None, "z or w (project: also w+); default: w where there is one")
    texts("films", None, "gif, mp4; default: gif, and mp4 where imageio-ffmpeg is installed")
    number("fps", 20.0, "frames a second of the films")
    flags.DEFINE_integer(
        "seed",
        0,
        told("seed", "of walks, neighbours (arithmetic: with --c), starts and random maps"),
        lower_bound=0,
        upper_bound=MOST_SEED,
        flag_values=FLAGS,
    )
    whole("frames", None, "interpolate: steps from seed to seed (10); walk: of a round (120)")
    text("interpolation", None, "linear or slerp; default: slerp in a round z, else linear")
    switch("loop", "go back to the first seed")
    whole("walkers", 9, "walks side by side")
    whole("harmonics", 3, "waves in a round of the walk; more is faster")
    texts("psi", ["1", "0.8", "0.6", "0.4", "0.2", "0", "-0.5", "-1"], "columns")
    for name in "abc":
        text(name, None, "seeds of a concept, 3 or so")
    number("jitter", 0.25, "with --c: neighbours are the sum + U(-jitter, jitter)")
    texts("scales", None, "columns: steps along a direction (arithmetic: without --c)")
    text("rows", "0-3", "seeds")
    text("columns", "4-9", "seeds that give --styles")
    text("styles", None, "layers from the columns (mix: 0-6), or, in w, that directions move (all)")
    text("images", None, "a picture, a folder of them, or a prepared data folder")
    texts("splits", ["train", "test"], "of a prepared folder of --images")
    whole(
        "count",
        None,
        "project: pictures of a folder, or of each split (10); directions: how many (5), where "
        "--attribute does not say",
    )
    text("distance", "auto", "auto, lpips, own, efflite0 or pixels")
    whole("steps", 1000, "of Adam")
    number("learning_rate", 0.1, "the largest, between its ramps")
    whole("restarts", 4, "in z: starts, the best is kept")
    number("noise_weight", 1e5, "in w: of the noise maps' regularisation")
    whole("chunk", 10, "pictures descended at once")
    texts("attribute", None, "class:NUMBER or class:NAME (several for --method=labels), brightness")
    text("mask", None, "PNG or .npy of the marked region, or .npy (N, R, R) for the seeds")
    whole("layer", None, "convolution whose input maps are dropped; default: -2", None)
    whole("drop", None, "maps to drop; 0: all of positive weight; default: a quarter", 0)
    number("penalty", 1.0, "L2 penalty of the logistic regression")
    switch("frechet", "also Frechet distances")
    flags.DEFINE_enum(
        "method",
        "sefa",
        ["sefa", "labels"],
        told("method", "how directions are found"),
        flag_values=FLAGS,
    )
    whole("samples", 2000, "of --method=labels: pictures that are labelled", 40)
    text("data", None, "prepared folder of the classifier, where one is needed; default: the run's")
    text("cache_dir", None, "where classifiers are kept, as in eval; where one is needed")


_define()


def unused(names: str, why: str) -> None:
    """Refuses flags that would change nothing here, though the mode may use them elsewhere.

    Raises:
      UserError: one of `names` was given; tells why, the mode, and the modes that use it.
    """
    for name in names.split():
        if FLAGS[name].present:
            raise UserError(
                f"--{name}: {why}; it would change nothing in this --mode={FLAGS.mode} "
                f"(modes that use it: {users(name)})"
            )


def check() -> tuple[Path, list[str]]:
    """(output folder, films), after a look at every flag that can be judged without work.

    Raises:
      UserError: a flag is missing, wrong, or means nothing here.
    """
    mode = FLAGS.mode
    if not mode or mode not in MODES:
        what = f"--mode={mode}: unknown" if mode else "--mode is missing"
        raise UserError(f"{what}; expected one of {', '.join(MODES)}")
    if not FLAGS.run:
        raise UserError("--run is missing: the run folder")
    for name in sorted(FLAGS):
        if FLAGS[name].present and name not in COMMON and name not in MODES[mode]:
            raise UserError(
                f"--{name} means nothing to --mode={mode}; modes that use it: {users(name)}"
            )
        # --films= is no film at all; all else would silently be its default.
        if FLAGS[name].present and FLAGS[name].value in ("", []) and name != "films":
            raise UserError(f"--{name}= is empty: give it a value, or leave it out")
    requests.psi("truncation", FLAGS.truncation)
    for value in requests.floats("psi", FLAGS.psi):
        requests.psi("psi", value)
    for name in ("jitter", "penalty", "noise_weight"):
        _check_number(name, positive=name == "penalty")
    _check_unused(mode)
    if not Path(FLAGS.run).is_dir():
        raise UserError(f"--run={FLAGS.run} does not exist: expected a folder of `ganpipe train`")
    out = Path(FLAGS.out) if FLAGS.out else Path(FLAGS.run) / "latent"
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file; expected a folder")
    if FLAGS.name and Path(FLAGS.name).name != FLAGS.name:
        raise UserError(f"--name={FLAGS.name}: expected the name of a file without its ending")
    return out, _films() if mode in FILMS else []


def _check_number(name: str, positive: bool) -> None:
    value = FLAGS[name].value
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise UserError(
            f"--{name}={value:g}: expected a finite number {'above 0' if positive else 'from 0 on'}"
        )


def _check_unused(mode: str) -> None:
    """Flags of the mode that its other flags leave without a meaning."""
    if mode != "truncate" and not FLAGS["truncation"].present:
        unused("cutoff", "layers are truncated by --truncation alone: give it")
    if mode == "arithmetic":
        if FLAGS.c:
            unused("seeds scales", "belongs to the turn vector: leave out --c")
        else:
            unused("jitter seed", "of the neighbours of a - b + c: give --c")
    elif mode == "project":
        _check_project()
    elif mode == "ablate":
        _check_ablate()
    elif mode == "directions" and FLAGS.method == "sefa":
        unused("attribute samples data cache_dir", "belongs to --method=labels, not to sefa")
    elif mode == "directions" and FLAGS.attribute:
        unused("count", "there is a direction for each --attribute")
        if not _asks_classes():
            unused("data cache_dir", "of the classifier, which only class:... asks")


def _check_project() -> None:
    if FLAGS.images:
        place = Path(FLAGS.images)
        if not (place / "dataset.json").is_file():
            unused("splits", "of a prepared data folder; --images is none")
        if not place.is_dir():
            unused("count", "--images is one picture, not a folder")
    if FLAGS.distance in ("lpips", "efflite0", "pixels"):
        unused("data cache_dir", f"of the classifier, which --distance={FLAGS.distance} asks not")


def _check_ablate() -> None:
    if FLAGS.mask and FLAGS.attribute:
        raise UserError("--attribute and --mask: give one of them")
    if len(FLAGS.attribute or []) > 1:
        raise UserError(f"--attribute={','.join(FLAGS.attribute)}: ablate takes one")
    if not FLAGS.mask and not FLAGS.attribute:
        raise UserError(
            "--mode=ablate needs labels: --attribute=class:3 (of the run's classifier), "
            "--attribute=brightness, or --mask=FILE with the region; one of them"
        )
    if not _asks_classes() and not FLAGS.frechet:
        unused("data cache_dir", "of the classifier, which only class:... and --frechet ask")


def _asks_classes() -> bool:
    """Whether --attribute asks a classifier; one that is wrong is refused later, by its name."""
    return any(text.strip() != "brightness" for text in FLAGS.attribute or [])


def _films() -> list[str]:
    from ganpipe.latent import films

    kinds = FLAGS.films
    if kinds is None:
        kinds = [k for k in films.KINDS if k != "mp4" or films.can_write_mp4()]
    if not kinds:
        unused("fps", "there is no film without --films")
    films.check(kinds, FLAGS.fps)
    return kinds
