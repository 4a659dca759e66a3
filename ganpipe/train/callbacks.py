"""What happens between steps: checkpoints, TensorBoard, sample grids, progress bar and guard."""

import math
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm
from PIL import Image

from ganpipe.errors import UserError
from ganpipe.ops import images as image_ops
from ganpipe.train import checkpoint

GRID_ROWS = 8


def write_png(path: Path, sheet: np.ndarray) -> None:
    """(H, W, 1 or 3) uint8 -> PNG, written aside and renamed."""
    aside = path.with_name(f".{path.name}")
    Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(aside, format="PNG")
    aside.rename(path)


class _AfterStep(keras.callbacks.Callback):
    """Calls `after(step, logs)` with the global step (1 after the first update)."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.start = int(self.model.step.numpy())

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.after(self.start + batch + 1, logs or {})

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """What the subclass does."""
        raise NotImplementedError


def scalars(logs: dict[str, Any]) -> dict[str, float]:
    """Logs as plain floats."""
    return {name: float(np.mean(np.asarray(value))) for name, value in logs.items()}


class Guard(_AfterStep):
    """Stops at the first loss that is not finite; the last good checkpoint stays.

    Args:
      directory: of the checkpoints, for the message.
    """

    def __init__(self, directory: Path):
        super().__init__()
        self.directory = directory

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Looks at every log of the step."""
        for name, value in scalars(logs).items():
            if not math.isfinite(value):
                steps = checkpoint.list_steps(self.directory)
                raise UserError(
                    f"{name} is {value} at step {step}. The last checkpoint is "
                    f"{f'step {steps[-1]}' if steps else 'none'} in {self.directory}. Try a "
                    "smaller learning rate (config.optimizer), or train.precision=float32."
                )


class Checkpoints(_AfterStep):
    """Saves every `every` steps and at the end.

    Args:
      directory: of the checkpoints.
      every: steps between two checkpoints.
      last: step at which training ends.
      keep: how many stay.
      is_chief: see `checkpoint.save`.
    """

    def __init__(self, directory: Path, every: int, last: int, keep: int, is_chief: bool):
        super().__init__()
        self.directory, self.every, self.last = directory, every, last
        self.keep, self.is_chief = keep, is_chief

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Saves when it is due."""
        if step % self.every == 0 or step == self.last:
            checkpoint.save(self.model, self.directory, self.keep, self.is_chief)


class Summaries(_AfterStep):
    """TensorBoard scalars every `log_every` steps, EMA grids every `sample_every`.

    The grid's noise is fixed: 64 images, one class a column for a conditional system, the same
    seeds at every step, so that progress can be seen.

    Args:
      run: run folder.
      global_batch: images a step.
      log_every: steps between two points.
      sample_every: steps between two grids.
      last: step at which training ends.
    """

    def __init__(self, run: Path, global_batch: int, log_every: int, sample_every: int, last: int):
        super().__init__()
        self.run, self.global_batch, self.last = run, global_batch, last
        self.log_every, self.sample_every = log_every, sample_every

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
            rate = (step - self.clock_step) * self.global_batch / max(now - self.clock, 1e-9)
            values = scalars(logs) | {
                "train/images_per_second": rate,
                "train/images_seen": float(step * self.global_batch),
                "G/learning_rate": learning_rate(self.model.g_optimizer),
                "D/learning_rate": learning_rate(self.model.d_optimizer),
            }
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
        columns = min(self.model.num_classes or 8, 16)
        count = columns * GRID_ROWS
        labels = np.arange(count) % columns if self.model.num_classes else None
        sheet = image_ops.grid(self.model.sample(count, seed=0, labels=labels), columns)
        write_png(self.run / "samples" / f"step_{step:08d}.png", sheet)
        with self.writer.as_default(step=step):
            tf.summary.image("samples_ema", sheet[None])
        self.writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the event file."""
        self.writer.close()


def learning_rate(optimizer: Any) -> float:
    """The rate of the next update, whatever the optimiser's schedule is."""
    rates = getattr(optimizer, "rates", None)
    return float(np.asarray(rates()[0] if rates else optimizer.learning_rate))


class Progress(_AfterStep):
    """A bar on stderr: steps done, images/s, time left, the two losses.

    Args:
      last: step at which training ends.
      global_batch: images a step.
    """

    def __init__(self, last: int, global_batch: int):
        super().__init__()
        self.last, self.global_batch = last, global_batch

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Opens the bar where the run stands."""
        super().on_train_begin(logs)
        self.bar = tqdm.tqdm(
            total=self.last * self.global_batch,
            initial=self.start * self.global_batch,
            unit=" images",
            unit_scale=True,
            desc="train",
            # In a log file one line every 20 s is enough.
            mininterval=0.5 if sys.stderr.isatty() else 20,
        )

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Moves the bar."""
        self.bar.update(step * self.global_batch - self.bar.n)
        values = scalars(logs)
        if not all(map(math.isfinite, values.values())):
            self.bar.close()  # the guard's message gets a line of its own
        shown = {k: f"{values[k]:.2f}" for k in ("D/loss", "G/loss") if k in values}
        self.bar.set_postfix({"step": step, **shown}, refresh=False)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the bar."""
        self.bar.close()
