"""Measures a data folder and says what is wrong with it, by itself or against earlier data.

  python -m pipeline.validate --data=data/cats64 --out=reports/cats64-may
  python -m pipeline.validate --data=data/cats64b --out=reports/cats64-june \\
    --baseline=reports/cats64-may

OUT then holds FeatureStats.pb, schema.pbtxt and anomalies.pbtxt, tensorflow-metadata's protos as
TFX and TFDV know them, and statistics.html, a page with all of it, sample images and the closest
near-duplicates.

The first run infers the schema: size, channels, class names and the bounds that later data must
keep to. With --baseline the schema of then is kept and what has changed since is told: new classes,
fewer images, another class mix, brightness or colour. schema.pbtxt is text; edit it to move a bound
and give the file itself to judge by it alone (--baseline=my/schema.pbtxt; without earlier
statistics drift is not looked for).

Exit status: 0 if the data are fit for training (warnings may be told), 1 if something blocks, 2 for
input that cannot be used. docs/validation.md lists every check with its bounds.
"""

from pathlib import Path

from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

FLAGS = flags.FlagValues()
_define = {"flag_values": FLAGS}
flags.DEFINE_string(
    "data", None, "Data folder to look at, made by `python -m pipeline.prepare`.", **_define
)
flags.DEFINE_string("out", None, "Folder for the report; made if missing.", **_define)
flags.DEFINE_string(
    "baseline",
    None,
    "What to compare with: the --out folder of an earlier run, its FeatureStats.pb, or a "
    "schema.pbtxt. Without it the data are judged by themselves.",
    **_define,
)
flags.DEFINE_multi_string(
    "beam", [], "A flag for Apache Beam, e.g. --beam=--direct_num_workers=2; repeatable.", **_define
)


def main(args: list[str]) -> int:
    """The command; see the module's text."""
    if args:
        raise UserError(f"unexpected argument {args[0]!r}; everything is given by --flag=value")
    if not FLAGS.data:
        raise UserError("--data is missing; name a folder made by `python -m pipeline.prepare`")
    if not FLAGS.out:
        raise UserError("--out is missing; name a folder for the report, e.g. --out=reports/cats64")
    out, data = Path(FLAGS.out), Path(FLAGS.data)
    from ganpipe.data import manifest
    from pipeline.components import example_validator

    info = manifest.info(data)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is not a folder; name one that is, or is not there yet")
    if out.resolve() == data.resolve() or data.resolve() in out.resolve().parents:
        raise UserError(f"--out={out} lies in the data folder; name one outside of {data}")
    if FLAGS.baseline:
        baseline = Path(FLAGS.baseline)
        if baseline.resolve() == out.resolve() or baseline.resolve().parent == out.resolve():
            raise UserError(
                f"--baseline={baseline} would be overwritten by --out={out}; name another --out"
            )
        example_validator.read_baseline(baseline)  # what is wrong with it is told before the work

    # Late: Beam takes seconds to import, and --help should not.
    from pipeline import beam_options
    from pipeline.components import statistics_gen, statistics_page
    from pipeline.components.schema import printable

    options = beam_options.parse(FLAGS.beam) if FLAGS.beam else None
    statistics_gen.run(data, out, beam_options=options)
    found = example_validator.run(out, out, baseline=FLAGS.baseline or None)
    for text in found["anomalies"]:
        print(f"blocks   {text}")
    for text in found["warnings"]:
        print(f"warning  {text}")
    counts = ", ".join(f"{info.count(split):,} {split}" for split in info.splits)
    verdict = "not fit for training" if found["anomalies"] else "fit for training"
    against = f", compared with {found['baseline']}" if found["baseline"] else ""
    print(f"{printable(info.name)}: {verdict}; {counts} images{against}")
    print(f"report   {out / statistics_page.PAGE}")
    return 1 if found["anomalies"] else 0


if __name__ == "__main__":
    app.run(main, FLAGS)
