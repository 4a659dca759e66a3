"""What happens between steps: checkpoints, TensorBoard, sample grids, progress bar."""

import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm
from PIL import Image

from ganpipe.models import stages
from ganpipe.ops import images as image_ops
from ganpipe.train import checkpoint

GRID_ROWS = 8
GRID_SIDE = 2048  # pixels of a grid's side, the white lines between its images aside
GRID_LEAST = 4  # images of a grid, however large they are


def write_png(path: Path, sheet: np.ndarray) -> None:
    """(H, W, 1 or 3) uint8 -> PNG, written aside and renamed."""
    aside = path.with_name(f".{path.name}")
    Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(aside, format="PNG")
    aside.rename(path)


def grid_shape(side: int, num_classes: int = 0) -> tuple[int, int]:
    """(columns, rows) of the sample grids of a run whose images have this longer side.

    Eight columns, or one a class up to 16, and eight rows; from 256 pixels on only as many as fit
    in `GRID_SIDE`, for 64 images of 1024 pixels are a PNG of 8192 that nobody can look at.
    """
    fit = max(GRID_SIDE // side, 1)
    columns = min(num_classes or 8, 16, max(fit, 2))
    return columns, max(min(GRID_ROWS, fit), -(-GRID_LEAST // columns))


class AfterStep(keras.callbacks.Callback):
    """Calls `after(step, logs)` with the global step (1 after the first update).

    `close` is called when training ends in whatever way, possibly more than once.
    """

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Notes the step that training starts from."""
        self.start = int(self.model.step.numpy())

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts the step."""
        self.after(self.start + batch + 1, logs or {})

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """What the subclass does."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what is open."""

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes."""
        self.close()


def scalars(logs: dict[str, Any]) -> dict[str, float]:
    """Logs as plain floats."""
    return {name: float(np.mean(np.asarray(value))) for name, value in logs.items()}


class Checkpoints(AfterStep):
    """Saves every `every` steps and at the end.

    Args:
      directory: of the checkpoints.
      every: steps between two checkpoints.
      last: step at which training ends.
      keep: how many stay.
      is_chief: see `checkpoint.save`.
      before: called with the step before each one; returns steps whose checkpoints must stay.
      seconds: of training so far; None where it is not known.
      images_at: step -> real images seen before it.
    """

    def __init__(
        self,
        directory: Path,
        every: int,
        last: int,
        keep: int,
        is_chief: bool,
        before: Callable[[int], Collection[int]] = lambda step: (),
        seconds: float | None = None,
        images_at: Callable[[int], int] | None = None,
    ):
        super().__init__()
        self.directory, self.every, self.last = directory, every, last
        self.images_at = images_at
        self.keep, self.is_chief, self.before = keep, is_chief, before
        self.seconds, self.clock = seconds, time.monotonic()

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock."""
        super().on_train_begin(logs)
        self.clock = time.monotonic()

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Saves when it is due."""
        if step % self.every == 0 or step == self.last:
            protect = self.before(step)
            self._count()
            images = self.images_at(step) if self.images_at else None
            place = {"seconds": self.seconds, "images_seen": images}
            checkpoint.save(self.model, self.directory, self.keep, self.is_chief, protect, place)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Keeps the seconds since the last checkpoint: a stage of growth need not end at one."""
        self._count()
        super().on_train_end(logs)

    def _count(self) -> None:
        now = time.monotonic()
        if self.seconds is not None:
            self.seconds += now - self.clock
        self.clock = now


class Summaries(AfterStep):
    """TensorBoard scalars every `log_every` steps, EMA grids every `sample_every`.

    The grid's noise is fixed: 64 images, one class a column for a conditional system (the first 16
    classes), the same seeds at every step, so that progress can be seen. Of large images there are
    fewer, so that a grid's side stays near 2048 pixels: at most 8 x 8 of 256, 4 x 4 of 512 and
    2 x 2 of 1024 or more; see `grid_shape`.

    Args:
      run: run folder.
      images_at: step -> real images seen before it, n_critic batches a step.
      log_every: steps between two points.
      sample_every: steps between two grids.
      last: step at which training ends.
      more: gives further scalars.
    """

    def __init__(
        self,
        run: Path,
        images_at: Callable[[int], int],
        log_every: int,
        sample_every: int,
        last: int,
        more: Callable[[], dict[str, float]] = dict,
    ):
        super().__init__()
        self.run, self.images_at, self.last, self.more = run, images_at, last, more
        self.log_every, self.sample_every = log_every, sample_every
        self.writer: Any = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Opens the event file and draws the grid before any training."""
        super().on_train_begin(logs)
        self.writer = tf.summary.create_file_writer(str(self.run / "tensorboard"))
        self.clock, self.clock_step = time.perf_counter(), self.start
        if self.start == 0:
            self.draw(0)

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Writes what is due."""
        if step % self.log_every == 0 or step == self.last:
            now = time.perf_counter()
            seen = self.images_at(step)
            rate = (seen - self.images_at(self.clock_step)) / max(now - self.clock, 1e-9)
            values = scalars(logs) | {
                "train/images_per_second": rate,
                "train/images_seen": float(seen),
                "G/learning_rate": learning_rate(self.model.g_optimizer),
                "D/learning_rate": learning_rate(self.model.d_optimizer),
            }
            values |= self.more()
            with self.writer.as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)
            self.writer.flush()
            self.clock, self.clock_step = time.perf_counter(), step
        if step % self.sample_every == 0 or step == self.last:
            paused = time.perf_counter()
            self.draw(step)
            self.clock += time.perf_counter() - paused

    def draw(self, step: int) -> None:
        """Writes samples/step_XXXXXXXX.png and the TensorBoard image of one step."""
        columns, rows = grid_shape(max(self.model.image_shape[:2]), self.model.num_classes)
        count = columns * rows
        labels = np.arange(count) % columns if self.model.num_classes else None
        sheet = image_ops.grid(self.model.sample(count, seed=0, labels=labels), columns)
        write_png(self.run / "samples" / f"step_{step:08d}.png", sheet)
        with self.writer.as_default(step=step):
            tf.summary.image("samples_ema", sheet[None])
        self.writer.flush()

    def note(self, step: int, text: str) -> None:
        """Writes a TensorBoard text."""
        with self.writer.as_default(step=step):
            tf.summary.text("incidents", text)
        self.writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        if self.writer is not None:
            self.writer.close()


def learning_rate(optimizer: Any) -> float:
    """The rate of the next update, whatever the optimiser's schedule is."""
    rates = getattr(optimizer, "rates", None)
    return float(np.asarray(rates()[0] if rates else optimizer.learning_rate))


class Progress(AfterStep):
    """A bar on stderr: steps done, images/s, time left, the two losses.

    Args:
      last: step at which training ends.
      images_at: step -> real images seen before it.
    """

    def __init__(self, last: int, images_at: Callable[[int], int]):
        super().__init__()
        self.last, self.images_at = last, images_at
        self.bar: Any = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Opens the bar where the run stands."""
        super().on_train_begin(logs)
        self.bar = tqdm.tqdm(
            total=self.images_at(self.last),
            initial=self.images_at(self.start),
            unit=" images",
            unit_scale=True,
            desc=f"train {stages.title(self.model)}".rstrip(),
            # In a log file one line every 20 s is enough.
            mininterval=0.5 if sys.stderr.isatty() else 20,
        )

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Moves the bar."""
        self.bar.update(self.images_at(step) - self.bar.n)
        values = scalars(logs)
        shown = {k: f"{values[k]:.2f}" for k in ("D/loss", "G/loss") if k in values}
        self.bar.set_postfix({"step": step, **shown}, refresh=False)

    def note(self, step: int, text: str) -> None:
        """Says a line above the bar."""
        tqdm.tqdm.write(f"warning: {text}", file=sys.stderr)

    def close(self) -> None:
        """Closes the bar."""
        if self.bar is not None:
            self.bar.close()
