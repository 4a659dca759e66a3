"""Pictures and films of what the latents of a run mean; docs/latent.md tells how to read each.

  python -m ganpipe latent --run=runs/a --mode=interpolate --seeds=0-8
  python -m ganpipe latent --run=runs/a --mode=walk --walkers=9 --frames=120
  python -m ganpipe latent --run=runs/a --mode=truncate --seeds=0-7 --psi=1,0.7,0.5,0,-0.5
  python -m ganpipe latent --run=runs/a --mode=arithmetic --a=1,4,8 --b=2,5,9 --c=3,6,7
  python -m ganpipe latent --run=runs/s --mode=mix --rows=85,100,75 --columns=55,821 --styles=0-6
  python -m ganpipe latent --run=runs/a --mode=project --images=data/fm --splits=train,test
  python -m ganpipe latent --run=runs/a --mode=ablate --attribute=class:Bag --drop=8
  python -m ganpipe latent --run=runs/s --mode=blobs --seeds=0-63
  python -m ganpipe latent --run=runs/a --mode=directions --method=sefa --count=5

Modes
  interpolate  from seed to seed, linear or slerp; strip and film
  walk         smooth random walks without an end; film
  truncate     seeds against psi, one table
  arithmetic   mean(a) - mean(b) + mean(c), neighbours; without --c the turn vector a - b
  mix          style mixing: rows x columns (style systems)
  project      latents of given pictures: before, after, error table
  ablate       drop the feature maps of an attribute or region (DCGAN's windows)
  blobs        share of the maps' energy in isolated peaks: StyleGAN's water drops
  directions   of the first layers' weights (sefa), or of labels

A flag that would change nothing is refused; in the list below [] are the modes that use a flag.
Files go to --out (default RUN/latent): MODE.png, MODE.gif and .mp4 for films, MODE.npz, MODE.json.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganpipe.cli import app, latent_flags
from ganpipe.cli.latent_flags import FLAGS, unused
from ganpipe.errors import UserError
from ganpipe.latent import requests


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
            return arithmetic.arithmetic(
                space, a, b, c, _labels(), FLAGS.jitter, FLAGS.seed, progress
            )
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
        unused("noise_weight", "of the noise maps; a projection in z has none")
    else:
        unused("restarts", "of projections in z; in w there is one start")
    if FLAGS.distance == "auto" and space.system.channels == 3:
        unused("data cache_dir", "of the classifier, which --distance=auto takes on grey alone")
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


def _blobs(space: Any) -> Any:
    from ganpipe.latent.blobs import blobs

    with _bar() as progress:
        return blobs(space, _seeds("seeds", "0-63"), _labels(), progress)


def _directions(space: Any) -> Any:
    from ganpipe.cli import latent_inputs
    from ganpipe.latent import directions

    if space.name == "z":
        unused("styles", "picks layers of w; this is z")
    seeds, scales = _seeds("seeds", "0-5"), _scales(directions.SCALES)
    if FLAGS.method == "sefa":
        args = (seeds, FLAGS.count or 5, FLAGS.styles, scales, _labels())
        with _bar() as progress:
            return directions.sefa(space, *args, progress)
    ruler = latent_inputs.Ruler(space.system, FLAGS.run, FLAGS.data, FLAGS.cache_dir)
    attributes = ruler.asked(FLAGS.attribute or ruler.all_classes(FLAGS.count))
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
    if FLAGS.labels and not system.num_classes:  # before a classifier is trained for nothing
        raise UserError(f"--labels: this {system.system_name} is unconditional; leave them out")
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
    out, kinds = latent_flags.check()
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
        "blobs": _blobs,
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
