"""The report: self-contained, escaped, written once for what it shows, true to the event files."""

import re
import types

import jinja2
import pytest

from pipeline import artifacts, curves, report

pytestmark = pytest.mark.filterwarnings("error::UserWarning")


def shown(**changes):
    """What `facts` gives for a run that was pushed, small."""
    empty = {"anomalies": [], "warnings": []}
    return {
        "name": "dcgan_shapes",
        "settings": "{}",
        "refusals": [],
        "info": {
            "name": "shapes",
            "source": "folder:/x",
            "num_classes": 2,
            "channels": 1,
            "resolutions": (4, 8),
        },
        "splits": {"train": 5400, "test": 600},
        "sheet": "data:image/png;base64,QUJD",
        "class_chart": None,
        "statistics": {"grey_mean": 73.28812},
        "findings": empty,
        "artifacts": [],
        "lineage": [{"what": "data", "value": "d1", "where": "here"}],
        "serving": "demo/serving/dcgan_shapes",
        "root": "demo",
        "versions": [1],
        "created": "2026-11-22 01:00 UTC",
        **changes,
    }


def test_findings_are_listed_with_what_they_were_compared_with():
    findings = {
        "anomalies": ["class 'dog' is not in the schema: remove it"],
        "warnings": ["2.0% are all black: remove them", "brightness has drifted: look"],
        "baseline": "the data of the last blessed model (ab12)",
    }
    page = report.render(shown(findings=findings, statistics_page="artifacts/x/page.html"), "0")
    assert page.count('badge bad">blocks') == 1 and page.count('badge warn">warning') == 2
    assert "brightness has drifted: look" in page and "the last blessed model (ab12)" in page
    assert 'href="artifacts/x/page.html"' in page
    page = report.render(shown(), "0")
    assert "No anomalies" in page and "All statistics" not in page
    assert "Not looked at" in report.render(shown(findings=None), "0")


def test_page_without_a_model_says_so_and_does_not_break():
    page = report.render(shown(versions=[], refusals=["the data have anomalies: none left"]), "0")
    assert "not pushed" in page and "the data have anomalies: none left" in page
    assert "There is nothing to serve" in page and "Scores" not in page


def test_served_version_that_stays_is_named():
    page = report.render(shown(refusals=["the model is not blessed: frechet"]), "0")
    assert "version 1 goes on being served" in page


def test_pushed_page_has_the_commands_and_its_figures():
    model = {
        "system": "dcgan",
        "resolution": 32,
        "channels": 1,
        "num_classes": 2,
        "generator_parameters": 1_234_567,
        "discriminator_parameters": 2,
        "steps": 4000,
        "images_seen": 256_000,
        "seconds": 212.4,
    }
    page = report.render(
        shown(model=model, curves=[], grids=[], pushed={"version": 1, "path": ""}), "0"
    )
    assert "blessed and pushed as version 1" in page
    assert "1 234 567" in page and "256 000" in page and "3 min 32 s" in page
    assert (
        "python -m serving.server --model_name=dcgan_shapes "
        "--model_base_path=demo/serving/dcgan_shapes --port=8500 --rest_api_port=8501" in page
    )


def test_names_from_outside_are_escaped():
    page = report.render(shown(refusals=["<script>alert(1)</script>"]), "0")
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_page_asks_for_nothing_from_outside():
    page = report.render(shown(), "0")
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', page) == []
    assert "url(" not in page and "@import" not in page


def test_a_forgotten_variable_is_an_error():
    facts = shown()
    del facts["sheet"]
    with pytest.raises(jinja2.UndefinedError, match="sheet"):
        report.render(facts, "0")


def test_scores_show_their_checks():
    evaluation = {
        "scores": {"frechet": 12.0, "kernel": 0.5, "kernel_std": 0.01},
        "extractor": {"name": "smallcnn", "hash": "abc", "test_accuracy": 0.93},
    }
    check = {"score": "frechet", "value": 12.0, "limit": 11.0, "passed": False}
    check |= {"rule": "max_frechet_ratio", "baseline": 10.0, "ratio": 1.1}
    blessing = {"blessed": False, "checks": [check]}
    rows = report._scores(evaluation, blessing)
    assert [row["name"] for row in rows] == ["frechet", "kernel", "classifier_accuracy"]
    assert rows[1]["std"] == 0.01 and rows[2]["value"] == 0.93
    page = report.render(shown(evaluation=evaluation, blessing=blessing, scores=rows), "0")
    assert "not blessed" in page and "smallcnn" in page and "abc" in page
    assert re.search(r"✗\s+at most\s+11\b", page) and "10 of the last blessed model" in " ".join(
        page.split()
    )


def test_grids_over_time_are_spread_and_keep_both_ends(tmp_path):
    for step in range(0, 10_500, 500):
        (tmp_path / f"step_{step:08d}.png").write_bytes(b"png")
    grids = report._grids(tmp_path, batch_size=64)
    assert [g["step"] for g in grids] == [0, 2000, 4000, 6000, 8000, 10_000]
    assert grids[1]["images_seen"] == 128_000
    assert grids[0]["image"] == "data:image/png;base64,cG5n"


def test_written_again_only_when_something_changed(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "facts", lambda runner: drawn.append(1) or shown())
    artifact = types.SimpleNamespace(fingerprint="f", created="t")
    runner = types.SimpleNamespace(
        root=tmp_path,
        made={"Examples": artifact},
        refusals=[],
        settings={},
        error=None,
        line=lambda *args: None,
    )
    path = report.finish(runner)
    first = path.read_text()
    assert report.finish(runner) == path and len(drawn) == 1 and path.read_text() == first
    runner.refusals = ["the model is not blessed"]
    report.finish(runner)
    assert len(drawn) == 2 and path.read_text() != first
    path.write_text("cut sho")
    report.finish(runner)
    assert len(drawn) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("change", [{"error": ValueError()}, {"made": {}}])
def test_a_run_that_broke_writes_none(tmp_path, change):
    runner = types.SimpleNamespace(
        **{"root": tmp_path, "made": {"Examples": 1}, "error": None, **change}
    )
    assert report.finish(runner) is None and list(tmp_path.iterdir()) == []


def test_report_code_is_there():
    assert len(artifacts.code_version(report.CODE)) == 64


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.24, "0.2 s"), (59.0, "59.0 s"), (61.6, "1 min 02 s"), (7265, "2 h 01 min")],
)
def test_clock(seconds, text):
    assert report._clock(seconds) == text


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("tensorboard")
    # As a training that was killed after step 30 and continued from its checkpoint at 20.
    for steps, offset in (((10, 20, 30), 0.0), ((30, 40), 100.0)):
        with tf.summary.create_file_writer(str(folder)).as_default():
            for step in steps:
                tf.summary.scalar("D/loss", step + offset, step=step)
                tf.summary.scalar("G/grad_norm", 1.0, step=step)
            tf.summary.image("samples_ema", tf.zeros([1, 4, 4, 1]), step=40)
        import time

        time.sleep(1.1)  # Event files are named by the second.
    return folder


def test_curves_are_those_of_the_event_files(events):
    curve = curves.scalars(events)
    assert set(curve) == {"D/loss", "G/grad_norm"}
    assert curve["D/loss"] == [(10, 10.0), (20, 20.0), (30, 130.0), (40, 140.0)]


def test_panels_by_kind_take_their_ink_from_the_page(events):
    panels = curves.training(events)
    assert [p["title"] for p in panels] == ["Losses", "Gradient norms"]
    svg = str(panels[0]["svg"])
    assert svg.startswith("<svg") and "currentColor" in svg and "#010203" not in svg
    head = svg[: svg.index(">")]
    assert "viewBox" in head and " width=" not in head and " height=" not in head


LOGITS = "D's logits on real and fake, means"
SHARES = "D(real) and D(fake): probabilities, accuracies"


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        # What game_logs gives: of a loss with probabilities, and of one without (wasserstein).
        (
            ["logit_real", "logit_fake", "logit_gap", "acc_real", "acc_fake", "real", "fake"],
            {LOGITS: ["logit"] * 2, SHARES: ["acc"] * 2 + ["D real", "D fake"]},
        ),
        (["logit_real", "logit_fake", "logit_gap", "distance"], {LOGITS: ["logit"] * 2}),
        (["real", "fake"], {SHARES: ["D real", "D fake"]}),
        (["logit_real", "sign_real"], {LOGITS: ["logit"], SHARES: ["sign"]}),
    ],
)
def test_logits_and_shares_of_d_have_a_panel_each(monkeypatch, tmp_path, names, shown):
    points = {f"D/{name}": [(1, 0.5), (2, 0.25)] for name in names}
    monkeypatch.setattr(curves, "scalars", lambda folder: points)
    labels = {}
    monkeypatch.setattr(curves, "_svg", lambda figure: legend(figure))

    def legend(figure):
        (axes,) = figure.axes
        return "|".join(text.get_text() for text in axes.get_legend().get_texts())

    for panel in curves.training(tmp_path):
        labels[panel["title"]] = str(panel["svg"]).split("|")
    assert list(labels) == list(shown)
    for title, parts in shown.items():
        assert len(labels[title]) == len(parts)
        for part in parts:
            assert any(part in label for label in labels[title]), (part, labels)


def test_no_events_no_panels(tmp_path):
    assert curves.training(tmp_path) == []


def test_class_charts_name_every_class():
    svg = str(curves.class_chart(["cat", "dog"], {"train": {"per_class": [3, 4]}}))
    assert "<svg" in svg
    assert curves.class_chart([], {}) is None
    svg = curves.agreement_chart({"label_accuracy_per_class": [0.5, None]}, ["cat", "dog"])
    assert "<svg" in str(svg)
    assert curves.agreement_chart({}, []) is None
