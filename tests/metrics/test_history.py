"""metrics.jsonl: appended, read back by step, sound after a kill."""

import pytest

from ganpipe.metrics import history


def record(step, value, seed=0, names=("frechet",)):
    return {
        "step": step,
        "scores": dict.fromkeys(names, value),
        "names": {name: f"X-{name}" for name in names},
        "passport": {"extractor": "e 1", "counts": {"generated": 10}, "seeds": {"seed": seed}},
    }


def test_lines_come_back_by_step_and_the_later_of_two_wins(tmp_path):
    assert history.read(tmp_path) == []
    for line in (record(200, 5.0), record(100, 7.0), record(200, 4.0), record(200, 6.0, seed=1)):
        history.append(tmp_path, line)
    found = [(r["step"], r["scores"]["frechet"]) for r in history.read(tmp_path)]
    assert found == [(100, 7.0), (200, 4.0), (200, 6.0)]


def test_a_half_written_line_is_passed_over_with_a_warning(tmp_path, capsys):
    history.append(tmp_path, record(100, 7.0))
    with (tmp_path / history.FILE).open("a") as file:
        file.write('{"step": 200, "sco')
    assert [r["step"] for r in history.read(tmp_path)] == [100]
    for step in (300, 400):
        history.append(tmp_path, record(step, 7.0))
    assert [r["step"] for r in history.read(tmp_path)] == [100, 300, 400]
    assert "metrics.jsonl:2 is passed over" in capsys.readouterr().err


def test_scores_of_models_that_are_gone_do_not_count(tmp_path):
    for step in (100, 200, 300):
        history.append(tmp_path, record(step, float(step)))
    history.restart(tmp_path, 300)  # nothing lies above
    assert len((tmp_path / history.FILE).read_text().splitlines()) == 3
    history.restart(tmp_path, 100)
    assert [r["step"] for r in history.read(tmp_path)] == [100]
    history.append(tmp_path, record(200, 4.0))
    assert [r["scores"]["frechet"] for r in history.read(tmp_path)] == [100.0, 4.0]


def test_another_split_does_not_displace_a_score(tmp_path):
    history.append(tmp_path, record(100, 7.0))
    other = record(100, 1.0)
    other["passport"] |= {"split": "train"}
    history.append(tmp_path, other)
    assert [r["scores"]["frechet"] for r in history.read(tmp_path)] == [7.0, 1.0]


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        history.append(tmp_path, record(1, float("nan")))
    assert history.read(tmp_path) == []


def test_best_is_the_first_of_the_best():
    records = [record(100, 7.0), record(200, 3.0), record(300, 3.0), record(400, 9.0)]
    assert history.best(records, "frechet")["step"] == 200
    assert history.best(records, "frechet", lower=False)["step"] == 400
    assert history.best(records, "kernel") is None
