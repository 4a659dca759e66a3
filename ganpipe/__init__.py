"""GANs in TensorFlow: from a folder of images to a measured model behind a server.

    system = ganpipe.create("dcgan", resolution=32, channels=1, num_classes=10)
    system.compile()
    system.fit(ganpipe.data.load("data/fashion_mnist", 32, 64), epochs=1, steps_per_epoch=1000)
    images = system.sample(16, seed=1)
    system = ganpipe.load("runs/a")

TensorFlow is imported when the first of these is used, not by `import ganpipe`.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

__all__ = ["__version__", "create", "data", "load"]


def create(name: str, *, resolution: int, channels: int = 3, **arguments: Any) -> "GANSystem":
    """Builds a system by name; see `ganpipe.models.registry.create`."""
    from ganpipe.models import registry

    return registry.create(name, resolution=resolution, channels=channels, **arguments)


def load(run_dir: str | os.PathLike, step: int | None = None) -> "GANSystem":
    """Brings a trained or imported system back; see `ganpipe.train.run_folder.load`."""
    from ganpipe.train import run_folder

    return run_folder.load(run_dir, step)


def __getattr__(name: str) -> Any:
    if name == "data":
        return importlib.import_module("ganpipe.data")
    raise AttributeError(f"module 'ganpipe' has no attribute {name!r}")
