"""Which earlier data a run is compared with."""

import pytest

from ganpipe.errors import UserError
from pipeline import artifacts, baseline


class History:
    """Writes the artifacts that runs over some data would have left."""

    def __init__(self, root):
        self.store = artifacts.Store(root)
        self.count = 0

    def _make(self, component, kind, inputs, properties):
        self.count += 1
        return self.store.make(
            component,
            kind,
            lambda out: properties,
            inputs=inputs,
            config={"run": self.count},
            code="v1",
        )

    def statistics(self, examples):
        known = [
            a
            for a in self.store.all("statistics_gen", "ExampleStatistics")
            if a.inputs["examples"] == examples
        ]
        return (
            known[-1]
            if known
            else self._make("statistics_gen", "ExampleStatistics", {"examples": examples}, {})
        )

    def find(self, examples, policy="blessed"):
        """(examples of the baseline or None, words)."""
        found, words = baseline.find(self.store, self.statistics(examples), policy, "cats")
        return (found.inputs["examples"] if found else None), words

    def run(self, examples, *, blocks=(), blessed=None, name="cats", policy="blessed"):
        statistics = self.statistics(examples)
        found, words = baseline.find(self.store, statistics, policy, "cats")
        inputs = {"statistics": statistics.content, "baseline": found.content if found else "none"}
        properties = {"anomalies": list(blocks), "warnings": [], "baseline": words}
        self._make("example_validator", "ExampleAnomalies", inputs, properties)
        if blessed is not None:
            model = self._make("trainer", "Model", {"examples": examples}, {"name": name})
            inputs = {"model": model.content}
            self._make("evaluator", "ModelBlessing", inputs, {"blessed": blessed})


@pytest.fixture
def history(tmp_path):
    return History(tmp_path)


def test_the_first_data_have_none(history):
    assert history.find("A") == (None, "")
    history.run("A", blessed=True)
    assert history.find("A") == (None, ""), "not themselves"


def test_the_data_of_the_last_blessed_model(history):
    for examples, blessed in (("A", True), ("B", True), ("C", False)):
        history.run(examples, blessed=blessed)
    assert history.find("D") == ("B", "the data of the last blessed model (B)")
    assert history.find("C")[0] == "B"


def test_without_a_blessed_model_the_first_sound_data(history):
    history.run("A", blocks=["all black"])
    history.run("B", blessed=False)
    history.run("C", blessed=False)
    assert history.find("D") == ("B", "the first data of this pipeline (B)")
    assert history.find("B") == (None, "")


def test_blessed_data_keep_the_comparison_that_they_passed(history):
    history.run("A", blessed=True)
    history.run("B", blessed=True)
    assert history.find("B") == ("A", "the data of the last blessed model (A)")


def test_what_was_accepted_once_does_not_block_later(history):
    history.run("A", blessed=True)
    history.run("B", blocks=["new class"])
    assert history.find("B")[0] == "A"
    history.run("B", policy="none", blessed=True)
    assert history.find("B") == (None, "")
    assert history.find("C")[0] == "B"
    history.run("B", policy="first", blocks=["new class"])
    assert history.find("B") == (None, ""), "what it passed counts, not what it failed since"


def test_models_of_another_name_do_not_count(history):
    history.run("A", blessed=True)
    history.run("B", blessed=True, name="dogs")
    assert history.find("C")[0] == "A"


def test_policies(history):
    for examples in "ABC":
        history.run(examples, blessed=True)
    assert history.find("D", "first")[0] == "A"
    assert history.find("D", "none") == (None, "")
    assert history.find("C", "first")[0] == "A"


def test_settings_are_checked_before_any_work(tmp_path):
    baseline.check_settings({"baseline": "first", "schema": ""})
    with pytest.raises(UserError, match="expected one of blessed, first, none"):
        baseline.check_settings({"baseline": "last", "schema": ""})
    with pytest.raises(UserError, match="schema.pbtxt is missing"):
        baseline.check_settings({"baseline": "none", "schema": str(tmp_path / "schema.pbtxt")})
