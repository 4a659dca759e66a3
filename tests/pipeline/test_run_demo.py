"""The main job's own parts: its refusal, its commands. The whole of it runs in `make demo`."""

import sys
import types

import pytest

from ganpipe.errors import UserError
from pipeline import demo
from pipeline.components.infra_validator import Address


def test_unblessed_pipeline_serves_nothing_and_fails(tmp_path, monkeypatch, capsys):
    runner = types.SimpleNamespace(
        refusals=["the model is not blessed: frechet is 20"], root=tmp_path, shown=str
    )
    monkeypatch.setattr(demo.pipeline_run, "execute", lambda config, root: runner)
    monkeypatch.setattr(demo.infra_validator, "serve", lambda *a: pytest.fail("served"))
    with pytest.raises(SystemExit) as stopped:
        demo.app.run(demo.main, demo.FLAGS, [f"--root={tmp_path}"])
    assert stopped.value.code == 1
    captured = capsys.readouterr()
    assert "not pushed: the model is not blessed: frechet is 20" in captured.err
    assert "report.html" in captured.out


@pytest.mark.parametrize("classes", [[], ["T-shirt, top", "bag"]])
def test_picture_asks_for_every_class_by_name(tmp_path, monkeypatch, classes):
    asked = []

    def client(command, **_):
        asked.extend(command)
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(demo.subprocess, "run", client)
    demo.fetch_picture(Address(1, 2), "m", classes, 16, tmp_path / "served.png")
    assert "--server=localhost:1" in asked
    if classes:
        assert {"--n=16", "--labels=0-1", "--label_names=T-shirt  top,bag"} <= set(asked)
    else:
        assert "--n=64" in asked and not any(a.startswith("--label") for a in asked)


def test_client_that_fails_is_told(tmp_path):
    # Nobody listens there: the client's own message comes through.
    with pytest.raises(UserError, match=r"python -m serving\.client: error: "):
        demo.fetch_picture(Address(1, 2), "m", [], 1, tmp_path / "served.png")
    assert list(tmp_path.iterdir()) == [] and sys.executable
