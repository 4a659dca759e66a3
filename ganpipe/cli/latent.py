"""Pictures and films of what the latents of a run mean; docs/latent.md tells how to read each.

  python -m ganpipe latent --run=runs/a --mode=interpolate --seeds=0-8
  python -m ganpipe latent --run=runs/a --mode=walk --walkers=9 --frames=120
  python -m ganpipe latent --run=runs/a --mode=truncate --seeds=0-7 --psi=1,0.7,0.5,0,-0.5
  python -m ganpipe latent --run=runs/a --mode=arithmetic --a=1,4,8 --b=2,5,9 --c=3,6,7
  python -m ganpipe latent --run=runs/s --mode=mix --rows=85,100,75 --columns=55,821 --styles=0-6
  python -m ganpipe latent --run=runs/a --mode=project --images=data/fm --splits=train,test
  python -m ganpipe latent --run=runs/a --mode=ablate --attribute=class:Bag --drop=8
  python -m ganpipe latent --run=runs/a --mode=directions --method=sefa --count=5

Modes
  interpolate  from seed to seed, linear or slerp; strip and film
  walk         smooth random walks without an end; film
  truncate     seeds against psi, one table
  arithmetic   mean(a) - mean(b) + mean(c), neighbours; without --c the turn vector a - b
  mix          style mixing: rows x columns (style systems)
  project      latents of given pictures: before, after, error table
  ablate       drop the feature maps of an attribute or region (DCGAN's windows)
  directions   of the first layers' weights (sefa), or of labels

Files go to --out (default RUN/latent): MODE.png, MODE.gif and .mp4 for films, MODE.npz, MODE.json.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError
from ganpipe.latent import requests

FLAGS = flags.FlagValues()

# Flags that each mode takes beside those of all modes.
_TAKES = {
    "interpolate": "seeds labels space frames interpolation loop",
    "walk": "labels walkers frames harmonics seed",
    "truncate": "seeds labels psi",
    "arithmetic": "a b c seeds labels space jitter scales seed",
    "mix": "rows columns styles labels",
    "project": "images splits count labels space distance steps learning_rate restarts "
    "noise_weight chunk seed data cache_dir",
    "ablate": "seeds labels attribute mask layer drop penalty frechet seed data cache_dir",
    "directions": "seeds labels space method count styles scales attribute samples data cache_dir",
}
MODES = {mode: takes.split() for mode, takes in _TAKES.items()}
COMMON = ("run", "mode", "out", "name", "step", "batch_size")
PSI_MODES = ("interpolate", "walk", "arithmetic", "mix", "ablate", "directions")
CUTOFF_MODES = ("interpolate", "walk", "truncate", "arithmetic", "mix", "directions")
FILMS = ("interpolate", "walk")


def _define() -> None:
    def text(name: str, default: str | None, help_text: str) -> None:
        flags.DEFINE_string(name, default, help_text, flag_values=FLAGS)

    def texts(name: str, default: list[str] | None, help_text: str) -> None:
        flags.DEFINE_list(name, default, help_text, flag_values=FLAGS)

    def whole(name: str, default: int | None, help_text: str, least: int | None = 1) -> None:
        flags.DEFINE_integer(name, default, help_text, lower_bound=least, flag_values=FLAGS)

    def number(name: str, default: float | None, help_text: str) -> None:
        flags.DEFINE_float(name, default, help_text, flag_values=FLAGS)

    text("run", None, "run folder")
    text("mode", None, f"one of {', '.join(MODES)}")
    text("out", None, "folder to write to; default: RUN/latent")
    text("name", None, "of the files; default: the mode")
    whole("step", None, "checkpoint; default: the newest", 0)
    whole("batch_size", 16, "pictures computed at once")
    text("seeds", None, "such as 0-7 or 1,4,9")
    texts("labels", None, "classes: one for all, or one a seed; default: drawn from the seeds")
    number("truncation", 1.0, "psi: 1 truncates nothing, 0 is the mean; -2 to 2")
    whole("cutoff", None, "style layers below it are truncated; default: the generator's own", 0)
    text("space", None, "z or w (project: also w+); default: w where there is one")
    texts("films", None, "gif, mp4; default: gif, and mp4 where imageio-ffmpeg is installed")
    number("fps", 20.0, "frames a second")
    whole("seed", 0, "of random walks, neighbours, starts and random maps", 0)
    whole("frames", None, "interpolate: steps from seed to seed (10); walk: of a round (120)")
    text("interpolation", None, "linear or slerp; default: slerp in a round z, else linear")
    flags.DEFINE_bool("loop", False, "go back to the first seed", flag_values=FLAGS)
    whole("walkers", 9, "walks side by side")
    whole("harmonics", 3, "waves in a round of the walk; more is faster")
    texts("psi", ["1", "0.8", "0.6", "0.4", "0.2", "0", "-0.5", "-1"], "columns of truncate")
    for name in "abc":
        text(name, None, "arithmetic: seeds of a concept, 3 or so")
    number("jitter", 0.25, "arithmetic: neighbours are the sum + U(-jitter, jitter)")
    texts("scales", None, "columns: steps along a direction")
    text("rows", "0-3", "mix: seeds")
    text("columns", "4-9", "mix: seeds that give --styles")
    text("styles", None, "layers from the columns (mix: 0-6), or that directions move (all)")
    text("images", None, "project: a picture, a folder of them, or a prepared data folder")
    texts("splits", ["train", "test"], "project: splits of a prepared folder")
    whole("count", None, "project: pictures of each split (10); directions: how many (5)")
    text("distance", "auto", "project: auto, lpips, own, efflite0 or pixels")
    whole("steps", 1000, "project: of Adam")
    number("learning_rate", 0.1, "project: the largest, between its ramps")
    whole("restarts", 4, "project in z: starts, the best is kept")
    number("noise_weight", 1e5, "project in w: of the noise maps' regularisation")
    whole("chunk", 10, "project: pictures descended at once")
    texts("attribute", None, "class:NUMBER or class:NAME (several for directions), brightness")
    text("mask", None, "ablate: PNG or .npy of the marked region, or .npy (N, R, R) for the seeds")
    whole("layer", None, "ablate: convolution whose input maps are dropped; default: -2", None)
    whole("drop", None, "ablate: maps; 0: all of positive weight; default: a quarter", 0)
    number("penalty", 1.0, "ablate: L2 penalty of the logistic regression")
    flags.DEFINE_bool("frechet", False, "ablate: also Frechet distances", flag_values=FLAGS)
    flags.DEFINE_enum(
        "method", "sefa", ["sefa", "labels"], "directions: how they are found", flag_values=FLAGS
    )
    whole("samples", 2000, "directions from labels: pictures that are labelled", 40)
    text("data", None, "prepared data folder of the classifier; default: the run's own")
    text("cache_dir", None, "where classifiers are kept, as in eval")


_define()


def _check() -> tuple[Path, list[str]]:
    """(output folder, films), after a look at every flag that can be judged without work."""
    mode = FLAGS.mode
    if not mode or mode not in MODES:
        what = f"--mode={mode}: unknown" if mode else "--mode is missing"
        raise UserError(f"{what}; expected one of {', '.join(MODES)}")
    if not FLAGS.run:
        raise UserError("--run is missing: the run folder")
    allowed = {*COMMON, *MODES[mode]}
    allowed |= {"truncation"} if mode in PSI_MODES else set()
    allowed |= {"cutoff"} if mode in CUTOFF_MODES else set()
    allowed |= {"films", "fps"} if mode in FILMS else set()
    for name in sorted(FLAGS):
        if FLAGS[name].present and name not in allowed:
            raise UserError(
                f"--{name} means nothing to --mode={mode}, which takes {', '.join(sorted(allowed))}"
            )
    requests.psi("truncation", FLAGS.truncation)
    for value in requests.floats("psi", FLAGS.psi):
        requests.psi("psi", value)
    if not Path(FLAGS.run).is_dir():
        raise UserError(f"--run={FLAGS.run} does not exist: expected a folder of `ganpipe train`")
    out = Path(FLAGS.out) if FLAGS.out else Path(FLAGS.run) / "latent"
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file; expected a folder")
    if FLAGS.name and Path(FLAGS.name).name != FLAGS.name:
        raise UserError(f"--name={FLAGS.name}: expected the name of a file without its ending")
    return out, _films() if mode in FILMS else []


def _films() -> list[str]:
    from ganpipe.latent import films

    kinds = FLAGS.films
    if kinds is None:
        kinds = [k for k in films.KINDS if k != "mp4" or films.can_write_mp4()]
    films.check(kinds, FLAGS.fps)
    return kinds


def _seeds(name: str, default: str | None = None) -> list[int]:
    text = FLAGS[name].value or default
    return requests.numbers(name, text) if text else []


def _labels() -> list[int] | None:
    return requests.numbers("labels", FLAGS.labels, "classes") if FLAGS.labels else None


@contextlib.contextmanager
def _bar(unit: str = "image", total: int | None = None) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(desc=FLAGS.mode, unit=unit, total=total, disable=None) as bar:
        yield bar.update


def _unused(names: str, why: str) -> None:
    """Refuses flags that would change nothing."""
    for name in names.split():
        if FLAGS[name].present:
            raise UserError(f"--{name}: {why}")


def _scales(default: Any) -> list[float]:
    return requests.floats("scales", FLAGS.scales) if FLAGS.scales else list(default)


def _interpolate(space: Any) -> Any:
    from ganpipe.latent.interpolate import interpolate

    args = (_seeds("seeds", "0-8"), _labels(), FLAGS.frames or 10, FLAGS.interpolation)
    with _bar() as progress:
        return interpolate(space, *args, FLAGS.loop, progress)


def _walk(space: Any) -> Any:
    from ganpipe.latent.walk import walk

    args = (FLAGS.walkers, FLAGS.frames or 120, FLAGS.harmonics, FLAGS.seed, _labels())
    with _bar() as progress:
        return walk(space, *args, progress)


def _truncate(space: Any) -> Any:
    from ganpipe.latent.truncate import truncate

    with _bar() as progress:
        psis = requests.floats("psi", FLAGS.psi)
        return truncate(space, _seeds("seeds", "0-7"), psis, _labels(), progress)


def _arithmetic(space: Any) -> Any:
    from ganpipe.latent import arithmetic

    a, b, c = (_seeds(name) for name in "abc")
    with _bar() as progress:
        if c:
            _unused("seeds scales", "belongs to the turn vector: leave out --c")
            return arithmetic.arithmetic(
                space, a, b, c, _labels(), FLAGS.jitter, FLAGS.seed, progress
            )
        _unused("jitter seed", "of the neighbours of a - b + c: give --c")
        seeds, scales = _seeds("seeds", "100-105"), _scales(arithmetic.SCALES)
        return arithmetic.turn(space, a, b, seeds, scales, _labels(), progress)


def _mix(space: Any) -> Any:
    from ganpipe.latent.mix import mix

    styles = FLAGS.styles or f"0-{min(6, space.num_ws - 1)}"
    with _bar() as progress:
        return mix(space, _seeds("rows"), _seeds("columns"), styles, _labels(), progress)


def _project(space: Any) -> Any:
    from ganpipe.cli import latent_inputs
    from ganpipe.latent import descent, distances, project

    settings = project.Settings(
        FLAGS.space,
        descent.Schedule(FLAGS.steps, FLAGS.learning_rate),
        FLAGS.restarts,
        FLAGS.noise_weight,
        FLAGS.seed,
        FLAGS.chunk,
    )
    if settings.chosen(space) == "z":
        _unused("noise_weight", "of the noise maps; a projection in z has none")
    else:
        _unused("restarts", "of projections in z; in w there is one start")
    targets = latent_inputs.targets(
        FLAGS.images, space.system, FLAGS.splits, FLAGS.count or 10, _labels()
    )
    project.check_targets(space, targets.images)
    ruler = latent_inputs.Ruler(space.system, FLAGS.run, FLAGS.data, FLAGS.cache_dir)
    distance = distances.choose(FLAGS.distance, space.system.channels, ruler.network)
    total = project.steps(settings, len(targets.images))
    with _bar("step", total) as progress:
        return project.project(
            space,
            targets.images,
            targets.labels,
            distance,
            settings,
            targets.names,
            targets.groups,
            progress,
        )


def _ablate(space: Any) -> Any:
    from ganpipe.cli import latent_inputs
    from ganpipe.latent import ablate

    if FLAGS.mask and FLAGS.attribute:
        raise UserError("--attribute and --mask: give one of them")
    if len(FLAGS.attribute or []) > 1:
        raise UserError(f"--attribute={','.join(FLAGS.attribute)}: ablate takes one")
    seeds = _seeds("seeds", "0-499")
    ruler = latent_inputs.Ruler(space.system, FLAGS.run, FLAGS.data, FLAGS.cache_dir)
    attribute, masks = None, None
    if FLAGS.mask:
        masks = ablate.check_masks(space, latent_inputs.masks(FLAGS.mask), len(seeds))
    elif FLAGS.attribute:
        (attribute,) = ruler.asked(FLAGS.attribute)
    features, real = ruler.reference() if FLAGS.frechet else (None, None)
    with _bar() as progress:
        return ablate.ablate(
            space,
            seeds,
            attribute,
            masks,
            FLAGS.layer,
            FLAGS.drop,
            _labels(),
            FLAGS.penalty,
            FLAGS.seed,
            features,
            real,
            progress,
        )


def _directions(space: Any) -> Any:
    from ganpipe.cli import latent_inputs
    from ganpipe.latent import directions

    seeds, scales = _seeds("seeds", "0-5"), _scales(directions.SCALES)
    if FLAGS.method == "sefa":
        _unused("attribute samples data cache_dir", "belongs to --method=labels, not to sefa")
        args = (seeds, FLAGS.count or 5, FLAGS.styles, scales, _labels())
        with _bar() as progress:
            return directions.sefa(space, *args, progress)
    ruler = latent_inputs.Ruler(space.system, FLAGS.run, FLAGS.data, FLAGS.cache_dir)
    attributes = ruler.asked(FLAGS.attribute or ruler.all_classes(FLAGS.count or 5))
    with _bar() as progress:
        return directions.from_labels(
            space,
            seeds,
            attributes,
            FLAGS.samples,
            FLAGS.styles,
            scales,
            _labels(),
            progress=progress,
        )


def _space(system: Any) -> Any:
    from ganpipe.latent import space

    if FLAGS.mode == "mix":
        space.needs_styles(system, "--mode=mix")
    name = None if FLAGS.mode in ("project", "truncate") else FLAGS.space
    return space.Space(
        system,
        name,
        truncation=FLAGS.truncation,
        cutoff=FLAGS.cutoff,
        batch_size=FLAGS.batch_size,
    )


def main(arguments: list[str]) -> None:
    """Entry point."""
    if arguments:
        raise UserError(f"unexpected argument(s): {' '.join(arguments)}")
    out, kinds = _check()
    app.import_tensorflow()
    import ganpipe
    from ganpipe.cli import latent_inputs

    system = ganpipe.load(FLAGS.run, FLAGS.step)
    modes = {
        "interpolate": _interpolate,
        "walk": _walk,
        "truncate": _truncate,
        "arithmetic": _arithmetic,
        "mix": _mix,
        "project": _project,
        "ablate": _ablate,
        "directions": _directions,
    }
    found = modes[FLAGS.mode](_space(system))
    asked = {name: FLAGS[name].value for name in sorted(FLAGS) if FLAGS[name].present}
    origin = {
        "run": str(Path(FLAGS.run).resolve()),
        "system": system.system_name,
        "step": int(system.step.numpy()),
        "flags": asked,
    }
    for line in found.lines:
        print(line)
    files = latent_inputs.write(out, FLAGS.name or FLAGS.mode, found, origin, kinds, FLAGS.fps)
    for path in files:
        print(f"wrote {path}")
