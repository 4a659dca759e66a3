"""What `pipeline.prepare` is measured against: the same data set by plain Pillow in one process.

    python benchmarks/worker_pillow.py FOLDER OUT SIDE [keep]

Every picture is opened, converted to RGB, halved down to 4x4 by Pillow's own 2x2 reduction (its
fastest way to averages), and appended to one TFRecord file per level, 128 px and below raw and
above as PNG of the level that ganpipe uses. With `keep` the PNG files themselves are kept at the
top level, as ganpipe does. The record bytes are put together by ganpipe's own fast writer, so that
only the image work and its organisation are compared. Prints seconds of work, without imports.
"""

import json
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ganpipe.data import codecs, records


def main(folder: str, out: str, side: int, keep: bool) -> None:
    started = time.perf_counter()
    paths = sorted(Path(folder).rglob("*.png"))
    np.random.default_rng(0).shuffle(paths)
    target = Path(out)
    target.mkdir(parents=True)
    writers = {}
    while side >= 4:
        encoding = "raw" if side <= 128 else "png"
        path = target / f"train-{side:04d}.tfrecord"
        writers[side] = records.ShardWriter(path, (side, side, 3), encoding)
        side //= 2
    for path in paths:
        data = path.read_bytes()
        image = Image.open(BytesIO(data)).convert("RGB")
        for level, writer in writers.items():
            if image.size[0] != level:
                image = image.reduce(2)
            array = np.asarray(image)[None]
            files = [data] if keep and codecs.is_plain_png(data, array.shape[1:]) else ()
            frames = writer.encoder.frames(array, [0], [path.name], sources=files)
            writer.append(frames, 1)
    entries = [writer.close() for writer in writers.values()]
    (target / "dataset.json").write_text(json.dumps(entries))
    print(json.dumps({"seconds": time.perf_counter() - started, "images": len(paths)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "keep" in sys.argv[4:])
