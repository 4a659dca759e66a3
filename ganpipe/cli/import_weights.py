"""Make a run folder out of published weights, or write a run's weights with the official names.

  python -m ganpipe import --format=stylegan2-ada-pytorch afhqdog.pkl --run=runs/afhqdog
  python -m ganpipe sample --run=runs/afhqdog --n=16 --truncation=0.7 --out=dogs.png
  python -m ganpipe import --export_format=stylegan2-ada-pytorch --run=runs/mine --out=mine.npz

Formats: stylegan2-ada-pytorch, progan-tf, stylegan-tf, stylegan2-tf (StyleGAN2 and StyleGAN2-ADA).
FILE is the pickle that the official training code writes. Nothing in it is executed: only its
tensors, containers and the arguments of its networks are read. The network is rebuilt from these
arguments, and every weight must fit. docs/import.md says what is refused, and under which licences
weights are published.
"""

from pathlib import Path

from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("format", None, "format of FILE", flag_values=FLAGS)
flags.DEFINE_string("run", None, "run folder: to make, or to export", flag_values=FLAGS)
flags.DEFINE_string(
    "export_format", None, "writes --run to --out with the names of this format", flag_values=FLAGS
)
flags.DEFINE_string("out", None, ".npz to write, with --export_format", flag_values=FLAGS)


def _export(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"unexpected argument(s) with --export_format: {' '.join(arguments)}")
    if FLAGS.format:
        raise UserError("--format reads a file, --export_format writes one: give one of the two.")
    if not FLAGS.out:
        raise UserError("--out is missing: the .npz to write.")
    app.import_tensorflow()
    import ganpipe
    from ganpipe.importers import export_npz

    system = ganpipe.load(FLAGS.run)
    path = export_npz.write(system, FLAGS.export_format, FLAGS.out)
    print(f"{system.system_name} at step {int(system.step.numpy())}: {path}")


def main(arguments: list[str]) -> None:
    """Entry point."""
    if not FLAGS.run:
        raise UserError("--run is missing")
    if FLAGS.export_format:
        _export(arguments)
        return
    if FLAGS.out:
        raise UserError("--out goes with --export_format; an import writes to --run.")
    if len(arguments) != 1:
        given = f"found {len(arguments)}: {' '.join(arguments)}" if arguments else "found none"
        raise UserError(f"expected one FILE to import, {given}")
    if not FLAGS.format:
        raise UserError("--format is missing; --help lists the formats.")
    if not Path(arguments[0]).is_file():
        raise UserError(f"{arguments[0]}: no such file")
    app.import_tensorflow()
    from ganpipe.importers import run

    system, file = run.import_file(arguments[0], FLAGS.run, FLAGS.format)
    kind = f"{system.num_classes} classes" if system.num_classes else "unconditional"
    print(
        f"{file.format} -> {system.system_name}, {system.resolution}x{system.resolution}, {kind}: "
        f"{FLAGS.run}"
    )
