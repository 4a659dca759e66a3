"""Trainer: Examples -> Model (a run folder and its export), through `ganpipe.train` and `.export`.

    OUT/run/         run folder: config.json, checkpoints/, tensorboard/, samples/, reals.png
    OUT/export/1/    SavedModel

The work place is kept between tries, so a killed training continues from its newest checkpoint.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganpipe.cli import app


def run(out: Path, *, config: Any, data_dir: Path, strategy: str = "none") -> Mapping[str, Any]:
    """Trains (or goes on training) a system and exports it.

    Args:
      out: work place; `out/run` may hold an earlier try.
      config: experiment config, a (frozen) ConfigDict without the `pipeline` section.
      data_dir: folder written by `pipeline.prepare`.
      strategy: `none`, `mirrored` or `multi_worker`.

    Returns:
      What the artifact reports: name, system, resolution, channels, num_classes, latent_dim,
      parameter counts, steps, and from the run folder `config_fingerprint`, `data_fingerprint` and
      `commit`.

    Raises:
      UserError: for a run folder of another configuration, data that do not fit, and whatever else
        `ganpipe.train.loop.train` refuses.
    """
    app.import_tensorflow()
    import ganpipe
    from ganpipe.export import savedmodel
    from ganpipe.train import loop

    run_dir = out / "run"
    loop.train(config, run_dir, data_dir=data_dir, strategy=strategy)
    # As anybody would load it later: in float32, whatever precision it was trained in.
    system = ganpipe.load(run_dir)
    # An export that was broken off would be numbered past: start again at version 1.
    shutil.rmtree(out / "export", ignore_errors=True)
    savedmodel.export_version(system, out / "export")
    record = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    return {
        "name": config.name,
        "system": config.system.name,
        "resolution": int(system.resolution),
        "channels": int(system.channels),
        "num_classes": int(system.num_classes),
        "latent_dim": int(system.latent_dim),
        "generator_parameters": int(system.generator.count_params()),
        "discriminator_parameters": int(system.discriminator.count_params()),
        "steps": int(config.train.steps),
        "images_seen": int(
            config.train.steps * config.train.batch_size * config.optimizer.get("n_critic", 1)
        ),
        "config_fingerprint": record["fingerprint"],
        "data_fingerprint": record["data_fingerprint"],
        "commit": record.get("commit"),
    }
