"""Write a run as a self-contained SavedModel for TensorFlow Serving.

  python -m ganpipe export --run=runs/a --out=export/dcgan
  python -m serving.server --model_name=dcgan --model_base_path=$PWD/export/dcgan

--out is the model's base path; the model becomes its next integer version, OUT/1, OUT/2, ...
"""

from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "run folder", flag_values=FLAGS)
flags.DEFINE_string("out", None, "base path of the model's versions", flag_values=FLAGS)


def main(arguments: list[str]) -> None:
    """Entry point."""
    if arguments:
        raise UserError(f"unexpected argument(s): {' '.join(arguments)}")
    for name in ("run", "out"):
        if not FLAGS[name].value:
            raise UserError(f"--{name} is missing")
    app.import_tensorflow()
    import ganpipe
    from ganpipe.export import savedmodel

    system = ganpipe.load(FLAGS.run)
    version = savedmodel.export_version(system, FLAGS.out)
    print(f"exported {system.system_name} at step {int(system.step.numpy())}: {version}")
