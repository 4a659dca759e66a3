"""Jobs of the mixtures study, what is kept of them, tables and figures; a tiny real run."""

import json

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.study import mixtures, output, recipes, toys, worker


def result(modes=25, **more):
    shares = [0.04] * modes + [0.0] * (25 - modes)
    values = {"modes": modes, "good": 0.9, "shares": shares, "steps": 10, "planned": 10}
    return values | {"cpu_seconds": 1.0, "wall_seconds": 2.0, "finite": True} | more


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--recipes: 'wgangp'.*wgan_gp"):
        mixtures.jobs(tmp_path, ["wgangp"], ["grid"], [0], 1.0)
    with pytest.raises(UserError, match=r"--mixtures: 'square'.*grid, ring"):
        mixtures.jobs(tmp_path, ["sngan"], ["square"], [0], 1.0)


def test_a_result_is_kept_for_the_same_job_only(tmp_path):
    (tmp_path / "mixtures").mkdir()
    (job,) = mixtures.jobs(tmp_path, ["sngan"], ["grid"], [3], 0.5)
    assert mixtures.kept(job) is None
    path = tmp_path / "mixtures" / "grid-sngan-3.json"
    path.write_text(json.dumps(job | {"result": result()}))
    assert mixtures.kept(job) == result()
    for changed in ({"effort": 1.0}, {"cpu_limit": 20.0}):
        arguments = {"effort": 0.5} | changed
        (other,) = mixtures.jobs(tmp_path, ["sngan"], ["grid"], [3], **arguments)
        assert mixtures.kept(other) is None
    path.write_text("{ cut short")
    assert mixtures.kept(job) is None


def test_a_changed_recipe_is_another_job(tmp_path, monkeypatch):
    (before,) = mixtures.jobs(tmp_path, ["sngan"], ["grid"], [0], 1.0)
    changed = recipes.Recipe("sngan", "sngan", steps=7)
    monkeypatch.setitem(recipes.RECIPES, "sngan", changed)
    (after,) = mixtures.jobs(tmp_path, ["sngan"], ["grid"], [0], 1.0)
    assert before["fingerprint"] != after["fingerprint"]


def test_table_says_what_was_stopped():
    runs = {
        "wgan_gp": [result(), result(24)],
        "sngan": [result(), result(steps=5)],
        "minimax": [result(0, finite=False, steps=5)],
    }
    text = mixtures.table({"grid": runs}, [0, 1])
    gp, sn, minimax = text.splitlines()[2:5]
    assert "| 25, 24 | 90, 90 | 10 | 1 | 2 |" in gp
    assert "stopped at the CPU limit" in sn
    assert "not finite" in minimax and "CPU limit" not in minimax


def test_figure_of_planted_samples(tmp_path):
    mixture = toys.grid_of_25()
    points = {name: mixture.sample(50, 0) for name in ("sngan", "wgan_gp", "egan", "r1", "wgan")}
    results = {name: [result()] for name in points}
    path = mixtures.draw(mixture, points, results, tmp_path / "figure.png")
    assert 5_000 < path.stat().st_size < 300_000


def test_tables_and_numbers_without_infinities(tmp_path):
    assert output.number(float("inf")) == "infinite"
    assert output.number(0.00012345) == "0.000123" and output.number(-0.0) == "0"
    assert output.markdown(["a", "b"], [[1, 2.5]]) == "| a | b |\n| --- | --- |\n| 1 | 2.5 |\n"
    path = output.write_json(tmp_path / "a.json", {"x": [np.float64(1.5), float("inf")]})
    assert json.loads(path.read_text()) == {"x": [1.5, "inf"]}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in recipes.RECIPES if n != "minimax"]


@pytest.mark.parametrize("name", ["minimax", *SLOW])
def test_recipes_train(name, monkeypatch):
    """A few steps of every kind of system, in this process."""
    monkeypatch.setattr(worker, "SAMPLES", 200)
    values, points = worker.train(name, "grid", 0, effort=2e-4, cpu_limit=1e9)
    assert points.shape == (200, 2) and np.isfinite(points).all()
    assert values["finite"] and values["steps"] == values["planned"] > 0
    assert values["modes"] <= 25 and len(values["shares"]) == 25


def test_training_stops_at_the_cpu_limit():
    values, _ = worker.train("minimax", "ring", 0, effort=2e-3, cpu_limit=0.0)
    assert values["steps"] < values["planned"]
