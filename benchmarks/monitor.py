"""Faults put into runs on purpose: how soon the health monitor sees them, and what it does then.

A short healthy training of each config is made once; every fault starts from its checkpoint, but
for the one that is there from the first step. Faults, at the first step after the checkpoint:

    collapse       G's last kernel becomes 0: all outputs are equal
    held_collapse  the same again and again, so that training cannot mend it
    latents        the weights that see z become 0, again and again: G ignores z
    nan            one weight of G becomes NaN
    nan_d          one weight of D becomes NaN
    rate           all learning rates times 100
    rate_at_start  the same from step 0
    rollback       collapse again and again, with monitor.action=rollback: ends after max_rollbacks

Then a healthy run of --healthy steps, which must raise nothing, and the cost of the monitor.

    python -m pipeline.prepare --source=fashion_mnist --resolution=32 --out=/tmp/fm32
    python benchmarks/monitor.py --data=/tmp/fm32
    python benchmarks/monitor.py --data=/tmp/fm32 --config=wgan_gp_fashion_mnist:tiny --start=300
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.train import callbacks, checkpoint, loop

WITHIN = 200  # steps: must show 7


def first_kernel(network):
    """The weight that the network's first input meets."""
    return next(v for v in network.trainable_variables if len(v.shape) > 1)


def last_kernel(network):
    return [v for v in network.trainable_variables if len(v.shape) > 1][-1]


def flatten(system):
    """All outputs are equal: nothing of the last hidden layer gets through."""
    kernel = last_kernel(system.generator)
    kernel.assign(np.zeros(kernel.shape, np.float32))


def ignore_latents(system):
    kernel = first_kernel(system.generator)
    kernel.assign(np.zeros(kernel.shape, np.float32))


def keep_flat(system):
    flatten(system)


def poison(network):
    kernel = first_kernel(network)
    values = kernel.numpy().copy()
    values.flat[values.size // 2] = np.nan
    kernel.assign(values)


def speed_up(system):
    for optimizer in (system.g_optimizer, system.d_optimizer):
        optimizer.learning_rate.assign(optimizer.learning_rate * 100)


FAULTS = {
    "collapse": flatten,
    "held_collapse": keep_flat,
    "latents": ignore_latents,
    "nan": lambda system: poison(system.generator),
    "nan_d": lambda system: poison(system.discriminator),
    "rate": speed_up,
}


LASTING = (keep_flat, ignore_latents)  # training would mend them before the next look


class Inject(callbacks.AfterStep):
    """Calls a fault when training has reached a step, every time it does; or from there on."""

    def __init__(self, at, fault):
        super().__init__()
        self.at, self.fault = at, fault

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.start == self.at:
            self.fault(self.model)

    def after(self, step, logs):
        if step == self.at or (step > self.at and self.fault in LASTING):
            self.fault(self.model)


def with_fault(at, fault):
    """Makes `loop.train` carry a fault; returns the undoing."""
    plain = loop._watchers

    def watchers(*arguments):
        return [Inject(at, fault), *plain(*arguments)]

    loop._watchers = watchers
    return lambda: setattr(loop, "_watchers", plain)


def incidents(run):
    found = [json.loads(p.read_text()) for p in sorted(run.glob("incidents/*/incident.json"))]
    return sorted(found, key=lambda r: r["step"])


def train(config, run, data, fault=None, at=0, **overrides):
    """Returns (error or None, incidents)."""
    action = overrides.pop("monitor.action", "warn")
    values = config_lib.to_dict(config_lib.load(config, overrides))
    values = config_lib.from_dict(values | {"monitor": {"action": action}})
    undo = with_fault(at, fault) if fault else lambda: None
    try:
        loop.train(values, run, data_dir=data)
        error = None
    except UserError as caught:
        error = str(caught)
    finally:
        undo()
    return error, incidents(run)


def show(name, ok, text):
    print(f"{'ok ' if ok else 'BAD'} {name:<16} {text}", flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="/tmp/fm32")
    parser.add_argument("--out", default="/tmp/monitor")
    parser.add_argument("--config", default="dcgan_fashion_mnist:tiny")
    parser.add_argument("--start", type=int, default=600, help="healthy steps before a fault")
    parser.add_argument("--healthy", type=int, default=3000, help="0 leaves the healthy run out")
    parser.add_argument("--faults", default="", help="comma-separated; all of them if empty")
    flags = parser.parse_args()
    out = Path(flags.out) / flags.config.replace(":", "_")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    wanted = flags.faults.split(",") if flags.faults else [*FAULTS, "rate_at_start", "rollback"]
    every = {"train.checkpoint_every": 100, "train.sample_every": 1000}
    at, good = flags.start, True
    print(f"{flags.config}: faults at step {at}, to be seen within {WITHIN} steps")
    base = out / "base"
    error, seen = train(flags.config, base, flags.data, **every, **{"train.steps": at})
    good &= show("before", not seen and error is None, f"{len(seen)} incidents in {at} steps")

    for name in [w for w in wanted if w in FAULTS]:
        run = out / name
        shutil.copytree(base, run)
        options = {**every, "train.steps": at + WITHIN, "monitor.action": "stop"}
        error, seen = train(flags.config, run, flags.data, FAULTS[name], at, **options)
        good &= tell(name, seen, at, run)
    if "rate_at_start" in wanted:
        run = out / "rate_at_start"
        options = {**every, "train.steps": WITHIN, "monitor.action": "stop"}
        error, seen = train(flags.config, run, flags.data, speed_up, 0, **options)
        good &= tell("rate_at_start", seen, 0, run)
    if "rollback" in wanted:
        run = out / "rollback"
        shutil.copytree(base, run)
        options = {**every, "train.steps": at + 400, "monitor.action": "rollback"}
        error, seen = train(flags.config, run, flags.data, flatten, at, **options)
        journal = json.loads((run / "monitor.json").read_text())
        path = " -> ".join(f"{h['step']} to {h['to']}" for h in journal["history"])
        bounded = journal["rollbacks"] == 3 and error is not None and "3 times already" in error
        text = f"went back {journal['rollbacks']} times ({path}), rates times {journal['lr_scale']}"
        good &= show("rollback", bounded, f"{text}, then: {error}")
    if flags.healthy:
        run = out / "healthy"
        begun = time.perf_counter()
        error, seen = train(
            flags.config, run, flags.data, **{**every, "train.steps": flags.healthy}
        )
        took = time.perf_counter() - begun
        names = [(r["kind"], r["step"], r["what"]) for r in seen]
        text = f"{flags.healthy} steps, {took:.0f} s, incidents: {names or 'none'}"
        good &= show("healthy", not seen and error is None, text)
        ranges(run, min(500, flags.healthy // 2))
        good &= cost(flags.config, flags.data, run)
    sys.exit(0 if good else 1)


def tell(name, seen, at, run):
    """One line of the table."""
    if not seen:
        return show(name, False, f"not seen within {WITHIN} steps")
    first = seen[0]
    page = next(run.glob(f"incidents/step_{first['step']:08d}_*"))
    whole = all((page / n).stat().st_size for n in ("index.html", "curves.png", "samples.png"))
    late = first["step"] - at
    return show(
        name, late <= WITHIN and whole, f"{late:>3} steps: {first['kind']}: {first['what']}"
    )


def ranges(run, after):
    """Least and largest value of every health/... scalar of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    for tag in sorted(t for t in events.Tags()["tensors"] if t.startswith("health/")):
        points = [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]
        both = [[v for _, v in points], [v for s, v in points if s > after]]
        text = f"; after step {after}: ".join(f"{min(v):.3g} to {max(v):.3g}" for v in both)
        print(f"    {tag:<24} {text}")


def cost(config, data, run):
    """Milliseconds of one look and of the detectors, beside a step's."""
    from ganpipe import data as data_lib
    from ganpipe.train import monitor, monitor_detectors, monitor_parts, monitor_probe

    values, info = config_lib.load(config), data_lib.info(data)
    system = loop.build(values, info)
    checkpoint.restore(system, checkpoint.newest(run / "checkpoints"))
    yardstick = monitor_probe.reference(info, values.data.resolution, bool(system.num_classes))
    probe = monitor_probe.Probe(system, yardstick)
    probe.start()
    probe.measure()
    looks = [clock(probe.measure) for _ in range(20)]
    settings = monitor.settings(None)
    detectors = monitor_detectors.all_of(settings, monitor_parts.family("non_saturating"))
    logs = dict.fromkeys(("D/loss", "G/loss", "D/grad_norm", "G/grad_norm"), 1.0)
    logs |= {"D/acc_real": 0.7, "D/acc_fake": 0.7}
    judge = [clock(lambda s=s: [d.update(s, logs) for d in detectors]) for s in range(1, 2000)]
    look, per_call = 1e3 * np.median(looks), 1e3 * np.median(judge)
    text = (
        f"a look {look:.1f} ms every {settings['every']} steps, detectors {per_call:.3f} ms a call"
    )
    return show("cost", True, text)


def clock(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
