"""Toy experiments that show what losses and constraints do: figures, tables and numbers.

  python -m ganpipe study divergences --out=studies
  python -m ganpipe study landscapes --out=studies
  python -m ganpipe study gradients --out=studies
  python -m ganpipe study mixtures --out=studies --seeds=0,1,2
  python -m ganpipe study all --out=studies

WHAT is one of
  divergences  JS, KL, total variation and Wasserstein of two distributions moved apart: exact, and
               as trained critics estimate them. JS stops at log 2, KL is infinite, Wasserstein
               grows with the distance. A few minutes.
  landscapes   D(x) under each loss and constraint, with the gradient that fakes feel. A minute.
  gradients    the pull of each loss on a fake's logit, and what reaches G as D trains. A minute.
  mixtures     the real systems on a ring of 8 and a grid of 25 Gaussians: modes covered, good
               samples, CPU seconds. One to two minutes a run; a stopped study goes on.
  all          one after the other.

Every study writes NAME.png, NAME.md and NAME.json to --out. docs/study.md reads them with you. A
quick look costs a twentieth of the time: --effort=0.05 --seeds=0.
"""

from pathlib import Path

from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

STUDIES = ("divergences", "landscapes", "gradients", "mixtures")

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "out", None, "folder for figures and tables, made if missing", flag_values=FLAGS
)
flags.DEFINE_list("seeds", ["0", "1", "2"], "a training each", flag_values=FLAGS)
flags.DEFINE_float(
    "effort",
    1.0,
    "factor on the training steps; 1 gives the figures of docs/study.md",
    flag_values=FLAGS,
    lower_bound=0.0,
    upper_bound=10.0,
)
flags.DEFINE_list(
    "recipes",
    None,
    "mixtures: rows of the table, for example wgan_gp,sngan; all by default",
    flag_values=FLAGS,
)
flags.DEFINE_list("mixtures", ["grid", "ring"], "mixtures: grid, ring or both", flag_values=FLAGS)
flags.DEFINE_integer(
    "parallel",
    1,
    "mixtures: runs at a time; CPU seconds are comparable only with 1",
    flag_values=FLAGS,
    lower_bound=1,
)


def main(arguments: list[str]) -> None:
    """Entry point."""
    if len(arguments) != 1 or arguments[0] not in (*STUDIES, "all"):
        given = " ".join(arguments) or "nothing"
        raise UserError(
            f"study: {given}; expected one of {', '.join(STUDIES)}, all. --help explains them."
        )
    if not FLAGS.out:
        raise UserError("--out is missing: the folder for figures and tables, for example studies")
    try:
        seeds = [int(seed) for seed in FLAGS.seeds]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(
            f"--seeds={','.join(FLAGS.seeds)}: expected different whole numbers from 0 on, as 0,1,2"
        )
    out = Path(FLAGS.out)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file; expected a folder")
    what = STUDIES if arguments[0] == "all" else arguments
    app.import_tensorflow()
    from ganpipe.study import divergences, gradients, landscapes, mixtures, recipes

    names = FLAGS.recipes or list(recipes.RECIPES)
    if "mixtures" in what:  # refuse a wrong name before the other studies have run
        mixtures.jobs(out, names, FLAGS.mixtures, seeds, FLAGS.effort)
    out.mkdir(parents=True, exist_ok=True)
    for name in what:
        if name == "mixtures":
            mixtures.run(out, seeds, FLAGS.effort, names, FLAGS.mixtures, FLAGS.parallel)
        else:
            module = {"divergences": divergences, "landscapes": landscapes, "gradients": gradients}
            module[name].run(out, seeds, FLAGS.effort)
        print((out / f"{name}.md").read_text().rstrip())
        print(f"\n{name}: {', '.join(str(p) for p in sorted(out.glob(f'{name}*.*')))}")
