"""The reader: images/s, time to restart, and whether it ever slows the DCGAN step.

Makes its own data folders of noise (once, under --data), and prints
  * images/s of batches of 64 at 32x32x3 and 128x128x3 raw (targets: 20,000 and 1,500), and at
    128x128x3 from PNG and from the caches;
  * seconds until the first batch, from the beginning and in the middle of a large epoch;
  * the step of DCGAN-32 (batch 64) with real data against a constant batch, in turns within this
    process: the ratio of the medians (target: at most 1.03).

    .venv/bin/python benchmarks/reader.py
    .venv/bin/python benchmarks/reader.py --rounds=15 --steps=20
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import ganpipe
from ganpipe.data import manifest, records

HERE = Path(__file__).parent
BATCH = 64


def make(folder, side, count, per_shard, encoding="raw"):
    """A prepared folder of one level of noise; smooth noise where it is to be compressed."""
    if (folder / manifest.MANIFEST).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    number = -(-count // per_shard)
    entries = []
    for index in range(number):
        name = f"train-{side:04d}-{index:05d}-of-{number:05d}.tfrecord"
        writer = records.ShardWriter(folder / name, (side, side, 3), encoding)
        rows = range(index * per_shard, min(count, (index + 1) * per_shard))
        for begin in range(rows.start, rows.stop, 256):
            part = range(begin, min(begin + 256, rows.stop))
            images = rng.integers(0, 256, (len(part), side, side, 3), np.uint8)
            if encoding != "raw":  # about as compressible as photographs
                images = np.sort(images, axis=2) // 8 * 8
            labels = rng.integers(0, 10, len(part))
            writer.write(images, labels.tolist(), [f"train/{i}" for i in part])
        entries.append(writer.close())
    content = {
        "format": manifest.FORMAT,
        "name": "noise",
        "source": "benchmarks/reader.py",
        "channels": 3,
        "levels": [{"resolution": side, "shape": [side, side], "encoding": encoding}],
        "num_classes": 10,
        "class_names": list("0123456789"),
        "splits": {"train": {"count": count, "per_class": [0] * 10}},
        "shards": {"train": {str(side): entries}},
        "map_classes": [],
        "pair_channels": 0,
        "domains": [],
        "geometry": "",
        "licence": "",
        "credit": "",
        "skipped": 0,
    }
    content["fingerprint"] = manifest.content_fingerprint(content)
    (folder / manifest.MANIFEST).write_text(json.dumps(content))
    return folder


def rate(folder, side, seconds, **settings):
    """Images/s once the stream flows, and seconds to the first batch of it."""
    begin = time.perf_counter()
    stream = iter(ganpipe.data.load(folder, side, BATCH, seed=1, **settings))
    next(stream)
    first = time.perf_counter() - begin
    for _ in range(20):
        next(stream)
    count, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        next(stream)
        count += BATCH
    return count / passed, first


def restart(folder, side, **settings):
    """Seconds from `load` to the first batch: at step 0, and in the middle of an epoch."""
    middle = ganpipe.data.info(folder).count() // BATCH // 2
    found = []
    for step in (0, middle):
        begin = time.perf_counter()
        next(iter(ganpipe.data.load(folder, side, BATCH, seed=1, start_step=step, **settings)))
        found.append(time.perf_counter() - begin)
    return found


def dcgan_steps(folder, rounds, steps):
    """Seconds a step, round by round: with real data, and with one batch again and again."""
    system = ganpipe.create("dcgan", resolution=32, nf=64)
    system.compile(steps_per_execution=steps)
    system.make_train_function()
    real = ganpipe.data.load(folder, 32, BATCH, seed=1).map(lambda images, _: images)
    batch = next(iter(real))
    # Iterators that last: a training reads its first group once, not once a round.
    feeds = {"real": iter(real), "constant": iter(tf.data.Dataset.from_tensors(batch).repeat())}
    found = {name: [] for name in feeds}
    for i in range(rounds + 1):
        for name in ("real", "constant") if i % 2 else ("constant", "real"):
            begin = time.perf_counter()
            system.train_function(feeds[name])
            if i:  # the first round builds the functions
                found[name].append((time.perf_counter() - begin) / steps)
    return found["real"], found["constant"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="/tmp/ganpipe-benchmark", help="about 1.7 GB")
    parser.add_argument("--seconds", type=float, default=8, help="per images/s figure")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=20, help="DCGAN steps a round")
    parser.add_argument("--out", default=str(HERE / "results" / "reader.jsonl"))
    args = parser.parse_args()

    data = Path(args.data)
    small = make(data / "raw32", 32, 60_000, 8192)
    middle = make(data / "raw128", 128, 6_000, 1300)
    large = make(data / "large128", 128, 24_000, 1300)  # 1.2 GB: three groups
    png = make(data / "png128", 128, 6_000, 1300, "png")
    print(f"batches of {BATCH}, {os.cpu_count()} cores, TensorFlow {tf.__version__}")

    rates = {}
    for name, target, folder, side, settings in (
        ("32x32x3 raw", 20_000, small, 32, {}),
        ("32x32x3 raw, mirror", 20_000, small, 32, {"mirror": True}),
        ("32x32x3 raw, cache=memory", 20_000, small, 32, {"cache": "memory"}),
        ("128x128x3 raw", 1_500, middle, 128, {}),
        ("128x128x3 raw, three groups", 1_500, large, 128, {}),
        ("128x128x3 raw, cache=memory", 1_500, middle, 128, {"cache": "memory"}),
        ("128x128x3 raw, mirror and fade", 1_500, middle, 128, {"mirror": True, "fade": half}),
        ("128x128x3 png", None, png, 128, {}),
        ("128x128x3 png, cache=FOLDER", 1_500, png, 128, {"cache": data / "cache"}),
    ):
        rates[name], first = rate(folder, side, args.seconds, **settings)
        verdict = "" if target is None else f"  (target {target:,}: {rates[name] / target:.1f}x)"
        print(f"{name:32s} {rates[name]:9,.0f} images/s, first batch {first:.2f} s{verdict}")

    restarts = {}
    for name, folder, side, settings in (
        ("32x32x3, one group", small, 32, {}),
        ("128x128x3, three groups", large, 128, {}),
        ("32x32x3, cache=memory", small, 32, {"cache": "memory"}),
    ):
        restarts[name] = start, half_way = restart(folder, side, **settings)
        print(f"{name:32s} to the first batch: step 0 {start:.2f} s, mid-epoch {half_way:.2f} s")

    real, constant = dcgan_steps(small, args.rounds, args.steps)
    medians = statistics.median(real), statistics.median(constant)
    ratio = medians[0] / medians[1]
    print(
        f"DCGAN-32 step: {medians[0] * 1e3:.1f} ms with real data, {medians[1] * 1e3:.1f} ms with "
        f"a constant batch, ratio {ratio:.3f} (target: at most 1.03; {args.rounds} rounds each)"
    )
    record = {
        "benchmark": "reader",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "batch": BATCH,
        "images_per_second": rates,
        "seconds_to_first_batch": restarts,
        "dcgan32_step_seconds": {"real": real, "constant": constant},
        "dcgan32_ratio_of_medians": ratio,
    }
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(record) + "\n")


def half(step):
    """A fade that never ends."""
    return tf.constant(0.5)


if __name__ == "__main__":
    main()
