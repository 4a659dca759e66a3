"""The data engine, measured: speed against Pillow, memory, exactness of the levels, encodings.

    python benchmarks/prepare.py                # all of the following, minutes
    python benchmarks/prepare.py speed          # 5,000 PNG files of 256 px to all levels, in turn
    python benchmarks/prepare.py memory         # peak memory for those and for 100,000 small ones
    python benchmarks/prepare.py levels         # 1,000 pictures against ProGAN's own arithmetic
    python benchmarks/prepare.py codecs         # raw, PNG and JPEG by size: bytes, milliseconds

The pictures are Fluent 3D emoji (and Fashion-MNIST for the small ones), fetched from their
packages. Runs, pictures and results lie under --work, which is kept for a second run. One JSON
line a result goes to benchmarks/results/prepare.jsonl. Let nothing else run meanwhile.
"""

import argparse
import io
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from ganpipe.data import codecs, sources, transforms  # noqa: E402


def pictures(count: int, side: int = 256):
    """Fluent 3D emoji, opaque, (side, side, 3) uint8; mirrored when they have all been used."""
    source = sources.open_source("fluent3d").fetch(print)
    geometry = transforms.Geometry(side, side, 3, 1, upscale=True)
    plan = source.plan(geometry, 0, 0.0, None)
    made = 0
    while made < count:
        for batch in source.batches("train", plan.splits["train"], 64, geometry):
            images = transforms.to_images(batch.pictures, geometry).images
            for image in images[: count - made]:
                yield image if made < len(plan.splits["train"]) else image[:, ::-1]
                made += 1
            if made >= count:
                return


def folder_of(work: Path, name: str, images, count: int) -> Path:
    """A folder of PNG files, made once."""
    folder = work / name
    if not (folder / "done.txt").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for i, image in zip(range(count), images, strict=False):
            array = image[..., 0] if image.shape[-1] == 1 else image
            Image.fromarray(np.ascontiguousarray(array)).save(folder / f"{i:06d}.png")
        (folder / "done.txt").write_text("")
    return folder


def note(**result):
    line = {"date": time.strftime("%Y-%m-%d %H:%M"), "machine": machine(), **result}
    path = HERE / "results" / "prepare.jsonl"
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def machine() -> str:
    names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return (
        f"{names[0].partition(':')[2].strip() if names else platform.machine()}, {os.cpu_count()}"
    )


def timed(command: list[str]) -> tuple[float, str]:
    """(seconds, stdout) of a command."""
    started = time.perf_counter()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=HERE.parent
    )
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} failed; run it by hand to see why")
    return time.perf_counter() - started, done.stdout


OURS = """
import json, sys, time
from pipeline import beam_options
from pipeline.components import example_gen
beam_options.load_beam()
started = time.perf_counter()
info = example_gen.run(f"folder:{sys.argv[1]}", sys.argv[2], int(sys.argv[3]),
                       say=lambda line: None, progress=False, **json.loads(sys.argv[4]))
print(json.dumps({"seconds": time.perf_counter() - started,
                  "images": sum(info.count(s) for s in info.splits),
                  # Of this program alone: ru_maxrss would count what started it.
                  "peak": int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])}))
"""


def ours(folder: Path, out: Path, side: int, **settings) -> list[str]:
    return [sys.executable, "-c", OURS, str(folder), str(out), str(side), json.dumps(settings)]


def speed(args) -> None:
    folder = folder_of(args.work, f"fluent{args.side}", pictures(args.count, args.side), args.count)
    baseline = [sys.executable, str(HERE / "worker_pillow.py"), str(folder)]
    os.environ["PYTHONPATH"] = str(HERE.parent)
    contestants = {
        "ganpipe": lambda out: ours(folder, out, args.side),
        "pillow": lambda out: [*baseline, str(out), str(args.side)],
        "pillow, files kept": lambda out: [*baseline, str(out), str(args.side), "keep"],
    }
    rates = {name: [] for name in contestants}
    whole = {name: [] for name in contestants}
    for number in range(args.rounds):
        for name, command in contestants.items():
            out = args.work / "out"
            shutil.rmtree(out, ignore_errors=True)
            seconds, text = timed(command(out))
            result = json.loads(text.splitlines()[-1])
            rates[name].append(result["images"] / result["seconds"])
            whole[name].append(result["images"] / seconds)
            print(
                f"round {number}: {name}: {rates[name][-1]:,.0f} images/s of work, "
                f"{whole[name][-1]:,.0f} with start-up",
                flush=True,
            )
    shutil.rmtree(args.work / "out", ignore_errors=True)
    for name in list(contestants)[1:]:
        for what, found in (("work", rates), ("with start-up", whole)):
            ratios = [a / b for a, b in zip(found["ganpipe"], found[name], strict=True)]
            print(
                f"ganpipe / {name} ({what}): median {statistics.median(ratios):.2f}, "
                f"min {min(ratios):.2f}, max {max(ratios):.2f} over {args.rounds} rounds"
            )
            note(
                what=f"ganpipe / {name}, {what}",
                ratios=[round(r, 3) for r in ratios],
                images=args.count,
                side=args.side,
                images_per_s={n: round(statistics.median(f), 1) for n, f in found.items()},
            )


def memory(args) -> None:
    large = folder_of(args.work, f"fluent{args.side}", pictures(args.count, args.side), args.count)
    small = folder_of(args.work, "small", _small(args.small), args.small)
    fewer = folder_of(args.work, "fewer", _small(args.small // 4), args.small // 4)
    for folder, side, count in (
        (large, args.side, args.count),
        (fewer, 32, args.small // 4),
        (small, 32, args.small),
    ):
        out = args.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        seconds, text = timed(ours(folder, out, side, upscale=True))
        peak = json.loads(text.splitlines()[-1])["peak"] * 1024
        print(
            f"{count:,} pictures to {side} px: peak {peak / 1e6:,.0f} MB, "
            f"{count / seconds:,.0f} images/s"
        )
        note(what="peak memory", images=count, side=side, megabytes=round(peak / 1e6))
    shutil.rmtree(args.work / "out", ignore_errors=True)


def _small(count: int):
    """Fashion-MNIST, with mirror images when they have all been used."""
    source = sources.open_source("fashion_mnist").fetch(print)
    geometry = transforms.Geometry(32, 32, 1, 1)
    plan = source.plan(geometry, 0, 0.0, None)
    made = 0
    while made < count:
        for split, rows in plan.splits.items():
            for batch in source.batches(split, rows, 1024, geometry):
                for image in batch.pictures:
                    yield image if made < 70_000 else image[:, ::-1]
                    made += 1
                    if made >= count:
                        return


def levels(args) -> None:
    """What is in prepared records against ProGAN's dataset_tool (progan.md, section 6).

    That tool takes float32 means of the unrounded level, channels first, then rounds and clips.
    """
    import tensorflow as tf

    from pipeline.components import example_gen

    out = args.work / "levels"
    shutil.rmtree(out, ignore_errors=True)
    info = example_gen.run("fluent3d", out, 256, say=print, progress=False)

    def read(side):
        for shard in info.files("train", side):
            for raw in tf.data.TFRecordDataset(str(shard["path"])).as_numpy_iterator():
                payload = tf.train.Example.FromString(raw).features.feature["image"].bytes_list
                yield codecs.decode(payload.value[0], info.encoding(side), info.shape(side))

    worst = dict.fromkeys(info.resolutions, 0)
    for at in itertools.islice(zip(*map(read, info.resolutions), strict=True), 1000):
        found = dict(zip(info.resolutions, at, strict=True))
        current = found[256].transpose(2, 0, 1).astype(np.float32)
        while True:
            side = current.shape[1]
            expected = np.rint(current).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
            gap = np.abs(found[side].astype(int) - expected).max()
            worst[side] = max(worst[side], int(gap))
            if side == 4:
                break
            current = (
                current[:, 0::2, 0::2]
                + current[:, 0::2, 1::2]
                + current[:, 1::2, 0::2]
                + current[:, 1::2, 1::2]
            ) * np.float32(0.25)
    shutil.rmtree(out)
    print("largest difference from the official arithmetic over 1,000 pictures, per level:")
    print("  " + ", ".join(f"{side}: {gap}" for side, gap in worst.items()))
    note(what="levels against ProGAN's arithmetic", images=1000, largest_difference=worst)


def codecs_table(args) -> None:
    print(
        "| side | raw kB | PNG kB | JPEG 95 kB | PNG ms to write | to read | JPEG ms to write | "
        "to read |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    images = list(pictures(args.sample, 256))
    for side in (32, 64, 128, 256):
        at = [transforms.pyramid(i[None])[side][0] for i in images]
        row = {"raw": side * side * 3 / 1e3}
        for encoding in ("png", "jpeg:95"):
            started = time.process_time()
            files = [codecs.encode(a, encoding) for a in at]
            write = (time.process_time() - started) / len(at) * 1e3
            started = time.process_time()
            for data in files:
                Image.open(io.BytesIO(data)).load()
            read = (time.process_time() - started) / len(at) * 1e3
            row[encoding] = (np.mean([len(f) for f in files]) / 1e3, write, read)
        png, jpeg = row["png"], row["jpeg:95"]
        print(
            f"| {side} | {row['raw']:.1f} | {png[0]:.1f} | {jpeg[0]:.1f} | {png[1]:.2f} | "
            f"{png[2]:.2f} | {jpeg[1]:.2f} | {jpeg[2]:.2f} |"
        )
        note(what="encodings", side=side, kilobytes_write_ms_read_ms=row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = {"speed": speed, "memory": memory, "levels": levels, "codecs": codecs_table}
    parser.add_argument("what", nargs="*", metavar="|".join(jobs), help="all if not given")
    parser.add_argument("--work", type=Path, default=Path("/tmp/ganpipe-bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--small", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=300)
    args = parser.parse_args()
    unknown = set(args.what) - set(jobs)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected {', '.join(jobs)}")
    for name in args.what or jobs:
        jobs[name](args)


if __name__ == "__main__":
    main()
