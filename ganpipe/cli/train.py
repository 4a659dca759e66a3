"""Train a GAN from a config, or continue a run that was stopped.

  python -m ganpipe train --config=dcgan_fashion_mnist:tiny --data=data/fashion_mnist \\
      --workdir=runs/a
  python -m ganpipe train --config=dcgan_fashion_mnist --data=DIR --workdir=runs/b \\
      --config.train.steps=20000 --config.optimizer.g_learning_rate=1e-4
  tensorboard --logdir=runs

  python -m ganpipe train --config=stylegan2_folder --data=DIR --workdir=runs/c \\
      --init_from=runs/imported --config.system.freeze_d=4 --config.optimizer.ada_kimg=100

The same command again continues from the newest checkpoint in --workdir; a larger
--config.train.steps trains on. Several GPUs: --strategy=mirrored. Several machines:
--strategy=multi_worker with TF_CONFIG set on each.
"""

from pathlib import Path

from absl import flags

from ganpipe import config as config_lib
from ganpipe.cli import app
from ganpipe.errors import UserError

FLAGS = flags.FlagValues()
config_lib.define_config_flag(FLAGS)
flags.DEFINE_string("workdir", None, "run folder, made if missing", flag_values=FLAGS)
flags.DEFINE_string(
    "data", None, "prepared data folder; overrides config.data.dir", flag_values=FLAGS
)
flags.DEFINE_string(
    "init_from",
    None,
    "run folder, trained or imported, whose networks a new run starts from (fine-tuning)",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "strategy",
    "none",
    ["none", "mirrored", "multi_worker"],
    "how training is distributed",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "logical_cpus",
    0,
    "with --strategy=mirrored on a machine without GPUs: replicas on the CPU",
    flag_values=FLAGS,
    lower_bound=0,
)


def main(arguments: list[str]) -> None:
    """Entry point."""
    config = config_lib.parse(FLAGS.config, arguments)
    if not FLAGS.workdir:
        raise UserError("--workdir is missing: the folder of this run, for example runs/a")
    app.import_tensorflow()
    from ganpipe.train import loop

    system = loop.train(
        config,
        FLAGS.workdir,
        data_dir=FLAGS.data,
        strategy=FLAGS.strategy,
        logical_cpus=FLAGS.logical_cpus,
        init_from=FLAGS.init_from,
    )
    run = Path(FLAGS.workdir)
    print(f"trained {system.system_name} to step {int(system.step.numpy())}")
    print(f"  run folder   {run}")
    print(f"  samples      {run / 'samples'}")
    print(f"  curves       tensorboard --logdir={run}")
    print(f"  next         python -m ganpipe eval --run={run} --out={run / 'metrics.json'}")
    print(f"               python -m ganpipe export --run={run} --out=export/{config.name}")
