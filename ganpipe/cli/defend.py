"""Attack a classifier, defend it with Defense-GAN, and measure what that is worth.

  python -m ganpipe defend --run=runs/d --data=data/fm28 --out=defence.json
  python -m ganpipe defend --run=runs/d --data=data/fm28 --out=defence.json \\
      --attacks=fgsm,rand_fgsm,pgd,cw,bpda --images=500 --steps=200 --restarts=10
  python -m ganpipe defend --run=runs/d --data=data/fm28 --out=quick.json \\
      --images=50 --steps=50 --restarts=2 --epochs=1

What it does: trains the classifier --classifier on the training split (once: it is kept in
RUN/defence), attacks the first --images pictures of the test split, replaces clean and attacked
pictures by the nearest ones that the run's generator can make (--steps of gradient descent from
each of --restarts starts), and counts what the classifier gets right before and after.

How to read it. "undefended" is the classifier alone, "defended" the classifier behind the
projection. FGSM, RAND+FGSM, PGD and C&W know the classifier but not the projection, so their
"defended" shows what the defence is worth against who does not expect it. BPDA knows both: judge
the defence by that one. "nearest" is a yardstick: the classifier on the nearest training picture,
which is what a generator of exactly these would be worth. Of "auc" 0.5 is chance, 1 says that the
reconstruction error alone tells every attacked picture from every clean one.

--out gets every figure with its counts, seeds and seconds, and is written after each attack; the
picture beside it (--sheet) shows clean, attacked and reconstructed images. Cost: images x restarts
x steps passes of G and its gradient for every attack, and for BPDA its own steps times that.
--precision=mixed_bfloat16 takes half the time on CPUs with bfloat16 units.
"""

import dataclasses
import os
import platform
import time
from pathlib import Path
from typing import Any

from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

FLAGS = flags.FlagValues()


def _define() -> None:
    def text(name: str, default: str | None, help_text: str) -> None:
        flags.DEFINE_string(name, default, help_text, flag_values=FLAGS)

    def whole(name: str, default: int, help_text: str, least: int = 1) -> None:
        flags.DEFINE_integer(name, default, help_text, lower_bound=least, flag_values=FLAGS)

    def number(name: str, default: float | None, help_text: str) -> None:
        flags.DEFINE_float(name, default, help_text, flag_values=FLAGS)

    def choice(name: str, default: str, values: list[str], help_text: str) -> None:
        flags.DEFINE_enum(name, default, values, help_text, flag_values=FLAGS)

    text("run", None, "run folder of a defense_gan")
    text("data", None, "prepared data folder, with labels")
    text("out", None, "JSON file to write")
    text("sheet", None, "PNG to write; default: --out with .png")
    whole("images", 500, "pictures: the first of the test split")
    flags.DEFINE_list(
        "attacks",
        ["fgsm", "rand_fgsm", "bpda"],
        "fgsm, rand_fgsm, pgd, cw, bpda",
        flag_values=FLAGS,
    )
    whole("seed", 0, "of projections, attacks and the classifier", 0)
    choice("classifier", "A", list("ABCDEFP"), "A to F: the paper's; P: with max pooling")
    choice("dropout", "rate", ["rate", "keep"], "rate: as the paper reads; keep: as its code ran")
    whole("epochs", 10, "of the classifier's training")
    number("adversarial", 0.0, "epsilon of adversarial training of the classifier; 0: none")
    whole(
        "reconstructions",
        0,
        "training pictures whose reconstructions fill half of the classifier's batches "
        "(Defense-GAN-Rec); 0: none (Defense-GAN-Orig)",
        0,
    )
    whole("reconstruction_steps", 100, "L of these")
    whole("reconstruction_restarts", 1, "R of these")
    number("epsilon", 0.3, "largest change of a pixel in [0, 1]")
    number("alpha", 0.05, "random part of it in rand_fgsm")
    whole("steps", 200, "L: gradient steps of a projection", 0)
    whole("restarts", 10, "R: starts of a projection")
    number("learning_rate", 10.0, "of the projection")
    number("momentum", 0.7, "of the projection")
    number("decay_at", None, "share of the steps after which the learning rate is a tenth")
    choice(
        "precision",
        "float32",
        ["float32", "mixed_bfloat16"],
        "of the projection's and the classifier's training arithmetic; results are float32",
    )
    whole("chunk", 50, "pictures projected at once")
    whole("pgd_steps", 40, "steps of pgd")
    number("pgd_step_size", 0.02, "step of pgd and bpda")
    whole("cw_steps", 100, "steps of cw for each constant")
    whole("cw_search", 4, "constants that cw tries")
    number("cw_constant", 1.0, "first constant of cw; the authors of Defense-GAN: 100")
    number("cw_learning_rate", 0.05, "of cw; the authors of Defense-GAN: 10")
    whole("bpda_images", 100, "pictures attacked by bpda, the first")
    whole("bpda_steps", 100, "gradient steps of bpda")
    whole("bpda_restarts", 1, "random starts of bpda")
    whole("bpda_projection_steps", 50, "L inside bpda; it is judged with --steps", 0)
    whole("bpda_projection_restarts", 2, "R inside bpda; it is judged with --restarts")
    whole("curve", 0, "also: error over L and R on so many clean pictures", 0)


_define()


def _check() -> tuple[Path, Path]:
    """(--out, --sheet), after a look at every flag that can be judged without work."""
    for name in ("run", "data", "out"):
        if not FLAGS[name].value:
            raise UserError(f"--{name} is missing; --help shows whole commands")
    out = Path(FLAGS.out)
    sheet = Path(FLAGS.sheet) if FLAGS.sheet else out.with_suffix(".png")
    if sheet == out:
        raise UserError(f"--out={out} is the JSON file; its picture would overwrite it (--sheet)")
    for flag, path in (("out", out), ("sheet", sheet)):
        if path.is_dir():
            raise UserError(f"--{flag}={path} is a folder; expected a file to write")
        if not path.parent.is_dir():
            raise UserError(f"--{flag}={path}: folder {path.parent} does not exist")
    if not Path(FLAGS.run).is_dir():
        raise UserError(f"--run={FLAGS.run} does not exist: expected a folder of `ganpipe train`")
    return out, sheet


def _settings() -> tuple[Any, Any]:
    """(experiment settings, classifier settings) of the flags."""
    from ganpipe.defence import classifiers, experiment

    projection = experiment.Projection(
        FLAGS.steps,
        FLAGS.restarts,
        FLAGS.learning_rate,
        FLAGS.momentum,
        FLAGS.decay_at,
        FLAGS.precision,
    )
    fields = {field.name for field in dataclasses.fields(experiment.Settings)}
    named = {name: FLAGS[name].value for name in fields & set(FLAGS) - {"attacks"}}
    wanted = experiment.Settings(
        attacks=tuple(name.strip() for name in FLAGS.attacks if name.strip()),
        projection=projection,
        **named,
    )
    wanted.check()
    classifier = classifiers.Settings(
        model=FLAGS.classifier,
        dropout=FLAGS.dropout,
        epochs=FLAGS.epochs,
        seed=FLAGS.seed,
        precision=FLAGS.precision,
        adversarial=FLAGS.adversarial,
    )
    classifier.check()
    return wanted, classifier


def _arrays(info: Any, split: str, resolution: int, count: int | None = None) -> tuple[Any, Any]:
    """(N, H, W, C) uint8 images and (N,) labels of a split, in the folder's order."""
    import numpy as np

    from ganpipe import data
    from ganpipe.ops import images as image_ops

    whole = info.count(split)
    batches = data.load(
        info.dir,
        resolution,
        min(500, whole),
        split,
        shuffle=False,
        repeat=False,
        drop_remainder=False,
    )
    images, labels, seen = [], [], 0
    for batch, batch_labels in batches:
        images.append(image_ops.to_uint8(batch).numpy())
        labels.append(batch_labels.numpy())
        seen += len(labels[-1])
        if count is not None and seen >= count:
            break
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]


def _reconstructions(system: Any, wanted: Any, images: Any, labels: Any) -> tuple[Any, str]:
    """(a function that projects the first training pictures, all that decides the result)."""
    if not FLAGS.reconstructions:
        return None, ""
    import numpy as np
    from tqdm import tqdm

    count = min(FLAGS.reconstructions, len(images))
    projection = dataclasses.asdict(wanted.projection) | {
        "steps": FLAGS.reconstruction_steps,
        "restarts": FLAGS.reconstruction_restarts,
    }

    def project() -> tuple[Any, Any]:
        name = "projecting training pictures"
        with tqdm(total=count, desc=name, unit="image", disable=None) as bar:
            found = system.reconstruct(
                images[:count], **projection, seed=(1 << 24) - 1, chunk=500, progress=bar.update
            )
        pixels = np.round(127.5 * (np.clip(found.images, -1.0, 1.0) + 1.0))
        return np.uint8(pixels), labels[:count]

    run = f"{Path(FLAGS.run).resolve()} at step {int(system.step.numpy())}"
    return project, f"{count} of {run} {projection}"


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{'attack':10} {'images':>6} {'undefended':>11} {'defended':>9} {'nearest':>8} "
        f"{'auc':>6} {'l2':>6}"
    ]
    for name, row in result["attacks"].items():
        auc = f"{row['detection_auc']:6.3f}" if "detection_auc" in row else "     -"
        l2 = f"{row['mean_l2']:6.2f}" if "mean_l2" in row else "     -"
        lines.append(
            f"{name:10} {row['images']:6d} {row['undefended']:11.3f} {row['defended']:9.3f} "
            f"{row['nearest']:8.3f} {auc} {l2}"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Entry point."""
    if arguments:
        raise UserError(f"unexpected argument(s): {' '.join(arguments)}")
    out, sheet = _check()
    app.import_tensorflow()
    import numpy as np

    import ganpipe
    from ganpipe import data
    from ganpipe.cli.output import write_json
    from ganpipe.defence import classifiers, experiment, store
    from ganpipe.ops import images as image_ops
    from ganpipe.train import callbacks

    wanted, classifier_settings = _settings()
    info = data.info(FLAGS.data)
    if info.num_classes < 2:
        raise UserError(f"--data={FLAGS.data} has no classes: a classifier needs labels")
    system = ganpipe.load(FLAGS.run)
    if not hasattr(system, "projector"):
        raise UserError(
            f"--run={FLAGS.run} is a {system.system_name}; expected a defense_gan (train one with "
            "--config=defense_gan_fashion_mnist)"
        )
    # Refuses settings of the projection before the classifier is trained.
    system.projector(**dataclasses.asdict(wanted.projection))
    info.check_resolution(system.resolution)
    if info.channels != system.channels:
        raise UserError(
            f"--data={FLAGS.data} has {info.channels} channel(s), the run {system.channels}"
        )
    if FLAGS.images > info.count("test"):
        raise UserError(f"--images={FLAGS.images}: the test split has {info.count('test')}")

    start = time.monotonic()
    train_images, train_labels = _arrays(info, "train", system.resolution)
    network, card = store.load_or_train(
        Path(FLAGS.run) / "defence",
        classifier_settings,
        info.fingerprint,
        train_images,
        train_labels,
        info.num_classes,
        *_reconstructions(system, wanted, train_images, train_labels),
    )
    card["reconstructions"] = FLAGS.reconstructions
    test_images, test_labels = _arrays(info, "test", system.resolution)
    card["test_accuracy"] = classifiers.accuracy(network, test_images, test_labels)
    card["test_images"] = len(test_labels)
    run = experiment.Experiment(
        system,
        network,
        test_images[: FLAGS.images],
        test_labels[: FLAGS.images],
        wanted,
        gallery=train_images,
    )

    def size(model: Any) -> int:
        return sum(int(np.prod(v.shape)) for v in model.trainable_variables)

    result = {
        "data": {"name": info.name, "fingerprint": info.fingerprint, "split": "test"},
        "gan": {
            "run": str(Path(FLAGS.run).resolve()),
            "step": int(system.step.numpy()),
            "arguments": system.get_config(),
            "g_parameters": size(system.generator),
            "d_parameters": size(system.discriminator),
        },
        "classifier": card,
        "settings": dataclasses.asdict(wanted),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "attacks": {},
    }
    for name in ("none", *wanted.attacks):
        result["attacks"][name] = run.measure(name)
        result["seconds"] = round(time.monotonic() - start, 1)
        write_json(out, result)
        callbacks.write_png(sheet, image_ops.grid(run.sheet(), 12))
    if FLAGS.curve:
        steps = [n for n in (25, 50, 100, 200) if n < FLAGS.steps] + [FLAGS.steps]
        restarts = [n for n in (1, 2, 5, 10) if n < FLAGS.restarts] + [FLAGS.restarts]
        result["curve"] = run.curve(min(FLAGS.curve, FLAGS.images), steps, restarts)
        result["seconds"] = round(time.monotonic() - start, 1)
        write_json(out, result)
    print(
        f"classifier {card['model']}: {card['test_accuracy']:.4f} on {card['test_images']} test "
        f"images; projection L={FLAGS.steps}, R={FLAGS.restarts}; GAN at step "
        f"{result['gan']['step']}"
    )
    print(_table(result))
    if "bpda" in result["attacks"]:
        row = result["attacks"]["bpda"]
        same = row.get("defended_on_the_same_images", {})
        beside = ", ".join(f"{name} {value:.3f}" for name, value in same.items())
        print(f"bpda saw {row['images']} of them" + (f"; defended on these: {beside}" * bool(same)))
    print(f"figures: {out}\npictures: {sheet}")
