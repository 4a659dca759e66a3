"""`python -m pipeline.validate`: exit status, words, what is kept and what is refused."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from pipeline import validate


def run(*words):
    validate.FLAGS.unparse_flags()
    validate.FLAGS(["validate", *(str(word) for word in words)])
    return validate.main([])


@pytest.fixture(scope="module")
def folders(tmp_path_factory, write_folder_once):
    """Two spans, the later with a class of its own, and the report of the first."""
    root = tmp_path_factory.mktemp("validate")
    rng = np.random.default_rng(0)
    for name, classes in (("may", ["a", "b"]), ("june", ["a", "b", "c"])):
        images = rng.integers(0, 256, (60, 8, 8, 3), np.uint8)
        splits = {
            "train": {"image": images[:48], "label": np.arange(48) % len(classes)},
            "test": {"image": images[48:], "label": np.arange(12) % len(classes)},
        }
        write_folder_once(root / name, splits, class_names=classes)
    assert run(f"--data={root / 'may'}", f"--out={root / 'report'}") == 0
    return root


def test_first_run_infers_and_the_next_is_judged_by_it(folders, tmp_path, capsys):
    out = tmp_path / "june"
    status = run(f"--data={folders / 'june'}", f"--out={out}", f"--baseline={folders / 'report'}")
    printed = capsys.readouterr().out
    assert status == 1
    assert "blocks   class 'c' is not in the schema: remove it" in printed
    assert "june: not fit for training; 48 train, 12 test images, compared with" in printed
    made = {path.name for path in out.iterdir()}
    assert made == {
        "FeatureStats.pb", "schema.pbtxt", "anomalies.pbtxt", "gallery.json", "statistics.html"
    }  # fmt: skip
    # The schema of the baseline is kept, so a third span is judged by the first.
    assert (out / "schema.pbtxt").read_text() == (folders / "report" / "schema.pbtxt").read_text()
    edited = tmp_path / "mine.pbtxt"
    edited.write_text((out / "schema.pbtxt").read_text().replace('"b"', '"b" value: "c"', 1))
    assert run(f"--data={folders / 'june'}", f"--out={out}", f"--baseline={edited}") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--data is missing"),
        (["--data={0}/may"], "--out is missing"),
        (["--data={0}/none", "--out={1}/x"], "is not a folder"),
        (["--data={0}/may", "--out={0}/may/x"], "lies in the data folder"),
        (["--data={0}/may", "--out={0}/may"], "lies in the data folder"),
        (["--data={0}/may", "--out={0}/may/dataset.json"], "is not a folder"),
        (["--data={0}/may", "--out={1}/x", "--baseline={1}/none"], "does not exist"),
        (["--data={0}/may", "--out={1}/x", "--baseline={0}/may"], "FeatureStats.pb is missing"),
        (["--data={0}/may", "--out={0}/report", "--baseline={0}/report"], "be overwritten"),
        (["--data={0}/may", "--out={1}/x", "--beam=--nonsense=1"], "no flag --nonsense"),
    ],
)
def test_what_is_refused_before_any_work(folders, tmp_path, words, message):
    words = [word.format(folders, tmp_path) for word in words]
    with pytest.raises(UserError, match=message):
        run(*words)
    assert not (tmp_path / "x").exists()
