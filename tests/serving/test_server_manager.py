"""Versions come and go: policies, hot swap, broken copies, retries, labels, reload, warm-up."""

import shutil
import threading
import time

import numpy as np
import pytest

from serving.server.config import ModelConfig
from serving.server.errors import ServingError
from serving.server.manager import LoadOptions, Manager

ROW = {
    "seed": np.array([1]),
    "label": np.array([0]),
    "truncation": np.ones(1, np.float32),
}
ONCE = LoadOptions(poll_seconds=0, max_retries=0)


def _manager(base, *, options=ONCE, **config) -> Manager:
    manager = Manager([ModelConfig("toy", str(base), **config)], options)
    manager.poll()
    return manager


def _put(source, base, name) -> None:
    """As a publisher should: copy beside, then rename."""
    base.mkdir(exist_ok=True)
    shutil.copytree(source, base / f".tmp-{name}")
    (base / f".tmp-{name}").rename(base / name)


def _states(manager) -> dict[int, str]:
    return {entry.number: entry.state for entry in manager.status("toy")}


def _image(manager, **choice) -> np.ndarray:
    with manager.lend("toy", **choice) as (_, servable):
        return servable.predict(servable.signature("serving_default"), ROW)["images"]


def test_hot_swap_keeps_the_old_version_until_the_new_one_answers(exports, tmp_path):
    _put(exports["one"], tmp_path, "1")
    manager = _manager(tmp_path)
    old = _image(manager)
    assert manager.serving() == {"toy": [1]}

    # A half copy under a number fails to load and takes nothing down.
    shutil.copytree(exports["two"], tmp_path / "2")
    shutil.rmtree(tmp_path / "2" / "variables")
    manager.poll()
    assert _states(manager) == {1: "AVAILABLE", 2: "END"}
    assert "variables" in str(manager.status("toy", 2)[0].error)
    np.testing.assert_array_equal(_image(manager), old)
    # It is not tried again in place ...
    shutil.copytree(exports["two"] / "variables", tmp_path / "2" / "variables")
    manager.poll()
    assert _states(manager)[2] == "END"
    # ... only once its directory has left and come back.
    (tmp_path / "2").rename(tmp_path / "away")
    manager.poll()
    (tmp_path / "away").rename(tmp_path / "2")
    manager.poll()
    assert _states(manager) == {1: "END", 2: "AVAILABLE"}
    assert np.any(_image(manager) != old)
    assert manager.status("toy", 2)[0].error is None
    # Roll back by renaming the newest away.
    (tmp_path / "2").rename(tmp_path / "2.bad")
    manager.poll()
    assert manager.serving() == {"toy": [1]}
    np.testing.assert_array_equal(_image(manager), old)


def test_a_lent_version_is_unloaded_only_after_its_last_request(exports, tmp_path):
    _put(exports["one"], tmp_path, "1")
    manager = _manager(tmp_path)
    with manager.lend("toy") as (number, servable):
        _put(exports["two"], tmp_path, "2")
        manager.poll()
        assert _states(manager) == {1: "UNLOADING", 2: "AVAILABLE"}
        assert number == 1
        servable.predict(servable.signature("serving_default"), ROW)
        with pytest.raises(ServingError, match=r"Specific\(toy, 1\)"), manager.lend("toy", 1):
            pass
    assert _states(manager) == {1: "END", 2: "AVAILABLE"}


def test_directories_that_are_no_versions_are_skipped(exports, tmp_path, caplog):
    _put(exports["one"], tmp_path, "00003")
    for name in ("3.partial", "latest", "-4", "1e3"):
        (tmp_path / name).mkdir()
    (tmp_path / "9").write_text("a file")
    (tmp_path / "3").mkdir()  # the same number as 00003, and empty
    manager = _manager(tmp_path)
    assert len(caplog.records) >= 1 and "two directories for version 3" in caplog.text
    assert set(_states(manager)) == {3}


def test_policies(tmp_path):
    versions = [4, 1, 3]
    assert ModelConfig("m", "/m").wanted(versions) == [4]
    assert ModelConfig("m", "/m", num_versions=2).wanted(versions) == [3, 4]
    assert ModelConfig("m", "/m", policy="all").wanted(versions) == [1, 3, 4]
    assert ModelConfig("m", "/m", policy="specific", versions=(1, 9)).wanted(versions) == [1]


def test_empty_base_unloads_but_a_missing_one_changes_nothing(exports, tmp_path):
    base = tmp_path / "base"
    _put(exports["one"], base, "1")
    manager = _manager(base)
    base.rename(tmp_path / "gone")
    manager.poll()
    assert manager.serving() == {"toy": [1]}
    (tmp_path / "gone").rename(base)
    (base / "1").rename(base / "was-1")
    manager.poll()
    assert manager.serving() == {"toy": []}
    with pytest.raises(ServingError, match=r"Latest\(toy\)") as caught, manager.lend("toy"):
        pass
    assert caught.value.code == "NOT_FOUND"


def test_retries_then_gives_up(tmp_path):
    (tmp_path / "1").mkdir()
    options = LoadOptions(poll_seconds=0.01, max_retries=2, retry_seconds=0.02)
    manager = Manager([ModelConfig("toy", str(tmp_path))], options)
    manager.start()
    with pytest.raises(ServingError) as caught:
        manager.wait_available(timeout=30)
    manager.stop()
    assert "1 servable(s) did not become available" in caught.value.message
    assert "Could not find SavedModel .pb" in caught.value.message
    entry = manager.status("toy")[0]
    assert (entry.tries, entry.state, entry.error.code) == (3, "END", "NOT_FOUND")


def test_a_version_that_appears_is_found_by_the_polling_thread(exports, tmp_path):
    options = LoadOptions(poll_seconds=0.02)
    manager = Manager([ModelConfig("toy", str(tmp_path))], options)
    manager.start()
    assert not manager.wait_available(timeout=0.1)
    _put(exports["one"], tmp_path, "1")
    assert manager.wait_available(timeout=30)
    manager.stop()
    assert not manager.wait_available()


def test_warmup_records_run_and_their_errors_fail_the_load(exports, tmp_path, tools):
    row = {"seed": [1], "label": [0], "truncation": [1.0]}
    cases = {
        "9 is not one": (tools.predict_request(signature="9 is not one", **row), "9 is not one"),
        "label": (tools.predict_request(seed=[1], label=[77], truncation=[1.0]), "label must be"),
        "dtype": (tools.predict_request(**{**row, "seed": np.ones(1)}), "to be int64 but double"),
    }
    for number, (request, text) in enumerate(cases.values(), start=1):
        base = tmp_path / str(number)
        _put(exports["two"], base, "1")
        good = tools.predict_request("ignored", **row)
        tools.write_warmup(base / "1", [good, request])
        error = _manager(base).status("toy")[0].error
        assert text in error.message and "warm-up record 2" in error.message
        unwarmed = LoadOptions(poll_seconds=0, max_retries=0, warmup_iterations=0)
        assert _manager(base, options=unwarmed).serving() == {"toy": [1]}
    file = tmp_path / "1" / "1" / "assets.extra" / "tf_serving_warmup_requests"
    file.write_bytes(b"this is no TFRecord file at all")
    assert _manager(tmp_path / "1").status("toy")[0].error.code == "DATA_LOSS"


def test_labels(exports, tmp_path):
    for name, source in (("1", "one"), ("2", "two")):
        _put(exports[source], tmp_path, name)
    with pytest.raises(ServingError, match="not currently available for inference") as caught:
        _manager(tmp_path, policy="all", labels={"stable": 1})
    assert caught.value.code == "FAILED_PRECONDITION"
    options = LoadOptions(poll_seconds=0, labels_for_unavailable=True)
    manager = _manager(tmp_path, options=options, policy="all", labels={"stable": 1})
    old = _image(manager, label="stable")
    config = ModelConfig("toy", str(tmp_path), policy="all", labels={"stable": 2})
    manager.reload([config])
    assert np.any(_image(manager, label="stable") != old)
    # An existing label never moves to a version that does not answer, flag or no flag.
    with pytest.raises(ServingError, match="version 5 of model toy"):
        manager.reload([ModelConfig("toy", str(tmp_path), policy="all", labels={"stable": 5})])
    assert np.any(_image(manager, label="stable") != old)
    with pytest.raises(ServingError, match="label: canary") as caught:
        _image(manager, label="canary")
    assert caught.value.code == "INVALID_ARGUMENT"


def test_reload_replaces_the_list(exports, tmp_path):
    _put(exports["one"], tmp_path / "a", "1")
    _put(exports["plain"], tmp_path / "b", "3")
    manager = Manager([ModelConfig("a", str(tmp_path / "a"))], ONCE)
    manager.poll()
    with pytest.raises(ServingError, match="Could not find base path"):
        manager.reload([ModelConfig("b", str(tmp_path / "nowhere"))])
    assert manager.serving() == {"a": [1]}
    manager.reload([ModelConfig("b", str(tmp_path / "b"))])
    assert manager.serving() == {"b": [3]}
    assert manager.status("a")[0].state == "END"
    with pytest.raises(ServingError, match=r"Latest\(a\)"), manager.lend("a"):
        pass


def test_requests_go_on_during_many_swaps(exports, tmp_path):
    _put(exports["one"], tmp_path, "1")
    manager = _manager(tmp_path)
    expected = [_image(manager)]
    stop, failures, answered = threading.Event(), [], [0]

    def ask() -> None:
        while not stop.is_set():
            try:
                image = _image(manager)
                assert any(np.array_equal(image, known) for known in expected)
                answered[0] += 1
            except Exception as error:
                failures.append(error)

    # The second version's image, from another manager, before anybody sees it.
    _put(exports["two"], tmp_path / "other", "1")
    expected.append(_image(_manager(tmp_path / "other")))
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number, source in ((2, "two"), (3, "one"), (4, "two")):
            _put(exports[source], tmp_path, str(number))
            manager.poll()
            deadline = time.monotonic() + 10
            while manager.serving() != {"toy": [number]} and time.monotonic() < deadline:
                time.sleep(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures and answered[0] > 3
    assert manager.serving() == {"toy": [4]}
