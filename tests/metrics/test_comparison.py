"""Tables and curves of several runs; refusals of unlike scores."""

import json

import pytest

from ganpipe.cli import compare
from ganpipe.errors import UserError
from ganpipe.metrics import comparison, history

PASSPORT = {
    "extractor": "smallcnn aa",
    "counts": {"generated": 100},
    "split": "test",
    "seeds": {"seed": 0},
}


def make_run(path, name, seed, values, loss="hinge", **changes):
    """A run folder with one score at steps 100, 200, ..."""
    path.mkdir()
    config = {"name": name, "train": {"seed": seed, "batch_size": 8}, "optimizer": {"loss": loss}}
    (path / "config.json").write_text(json.dumps({"config": config}))
    for i, value in enumerate(values, start=1):
        score(path, 100 * i, value, seconds=10.0 * i + seed, **changes)
    return path


def score(path, step, value, seconds=None, **changes):
    history.append(
        path,
        {
            "step": step,
            "images_seen": 8 * step,
            "train_seconds": seconds,
            "scores": {"frechet": value},
            "names": {"frechet": "FD-smallcnn"},
            "passport": PASSPORT | changes,
        },
    )


def labelled_runs(folders):
    return comparison.groups(comparison.alike([comparison.load(f, "frechet") for f in folders]))


@pytest.fixture
def folders(tmp_path):
    return [
        make_run(tmp_path / "a0", "a", 0, [9.0, 4.0, 5.0]),
        make_run(tmp_path / "a1", "a", 1, [7.0, 6.0, 3.0]),
        make_run(tmp_path / "b", "b", 0, [3.0, 2.0], loss="wasserstein"),
    ]


def test_seeds_make_one_row_and_the_best_stands_first(folders):
    labelled = labelled_runs(folders)
    assert {k: len(v) for k, v in labelled.items()} == {"a": 2, "b": 1}
    lines = comparison.table(labelled, lower=True).splitlines()
    assert lines[0].startswith("| system | seeds | FD-smallcnn, last | FD-smallcnn, best |")
    assert lines[2] == "| b | 0 | 2 | 2 | 1,600 | 20 |"
    # Last: 5 and 3; best: 4 and 3; seconds 30 and 31.
    assert lines[3] == "| a | 0, 1 | 4 +- 1.4 | 3.5 +- 0.71 | 2,400 | 30 |"
    x, mean, low, high = comparison.curve(labelled["a"], "seconds")
    assert (x, mean) == ([10.5, 20.5, 30.5], [8.0, 5.0, 4.0])
    assert (low, high) == ([7.0, 4.0, 3.0], [9.0, 6.0, 5.0])


def test_one_name_with_two_configurations_is_two_rows(tmp_path):
    folders = [
        make_run(tmp_path / "x", "a", 0, [1.0]),
        make_run(tmp_path / "y", "a", 0, [2.0], loss="wasserstein"),
    ]
    labelled = labelled_runs(folders)
    assert list(labelled) == ["a (x)", "a (y)"]


def test_unlike_scores_are_refused_with_the_difference(folders, tmp_path):
    other = make_run(tmp_path / "c", "c", 0, [1.0], counts={"generated": 50})
    with pytest.raises(UserError, match=r"cannot be compared: counts.generated: 100 and 50"):
        labelled_runs([*folders, other])
    with pytest.raises(UserError, match="a seed twice"):
        labelled_runs([folders[0]] * 2)


def test_the_way_that_all_runs_share_is_taken(folders):
    for folder, value in zip(folders, (1.0, 2.0, 3.0), strict=True):
        score(folder, 500, value, counts={"generated": 50})
    shared = comparison.alike([comparison.load(f, "frechet") for f in folders])
    assert [len(run.points) for run in shared] == [3, 3, 2]  # 100 images: more points
    only = make_run(folders[0].parent / "c", "c", 0, [4.0], counts={"generated": 50})
    shared = comparison.alike([comparison.load(f, "frechet") for f in (*folders, only)])
    assert [run.points[0].value for run in shared] == [1.0, 2.0, 3.0, 4.0]


def test_several_seeds_of_one_model_are_averaged(folders):
    score(folders[2], 200, 4.0, seeds={"seed": 1})
    (run,) = comparison.load(folders[2], "frechet")
    assert [p.value for p in run.points] == [3.0, 3.0]


def test_scores_without_a_better_side_keep_their_order(folders):
    labelled = labelled_runs(folders)
    lines = comparison.table(labelled, lower=None).splitlines()
    assert lines[2].startswith("| a | 0, 1 | 4 +- 1.4 |  |") and lines[3].startswith("| b |")


def test_folders_that_cannot_be_compared(folders, tmp_path):
    with pytest.raises(UserError, match="has no config.json"):
        comparison.load(tmp_path, "frechet")
    with pytest.raises(UserError, match=r"has no score 'kernel': run `python -m ganpipe eval"):
        comparison.load(folders[0], "kernel")


def test_the_command_prints_a_table_and_draws(folders, tmp_path, capsys):
    out = tmp_path / "compare.png"
    compare.FLAGS(["compare", "--metric=frechet", f"--out={out}"])
    compare.main([str(f) for f in folders])
    printed = capsys.readouterr().out
    assert "| b | 0 | 2 | 2 |" in printed and str(out) in printed
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="no runs"):
        compare.main([])
    compare.FLAGS(["compare", "--metric=fid"])
    with pytest.raises(UserError, match="--metric=fid: unknown"):
        compare.main([str(folders[0])])
