"""The page about an evaluation, and the curve of precision against recall."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from ganpipe.metrics import evaluate, material, report

spec = importlib.util.spec_from_file_location("squares", Path(__file__).with_name("conftest.py"))
squares_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(squares_module)


def test_curve_of_equal_disjoint_and_half_covered_histograms():
    p = np.array([0.25, 0.25, 0.5])
    precision, recall = report.precision_recall_curve(p, p)
    assert max(np.minimum(precision, recall)) == pytest.approx(1.0, abs=1e-9)
    precision, recall = report.precision_recall_curve(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert precision.max() == recall.max() == pytest.approx(0.0, abs=1e-9)
    # The generator makes one of two equal modes: all of it is real, half of the real is made.
    precision, recall = report.precision_recall_curve(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    assert precision.max() == pytest.approx(1.0) and recall.max() == pytest.approx(0.5)
    swapped = report.precision_recall_curve(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(np.sort(swapped[0]), np.sort(recall), atol=1e-4)


def test_shares_of_clusters():
    rng = np.random.default_rng(0)
    far = np.array([[0.0, 0.0], [50.0, 0.0]])
    real = np.repeat(far, 100, axis=0) + rng.normal(size=(200, 2))
    fake = far[:1] + rng.normal(size=(80, 2))
    p, q = report.cluster_shares(real, fake, clusters=2)
    assert sorted(p) == [0.5, 0.5] and sorted(q) == [0.0, 1.0]


def test_page(trained, tmp_path):
    source, extractor = trained
    images, labels = squares_module.squares(120, seed=3)
    wanted = evaluate.check(
        metrics=["frechet", "label_accuracy"], num=120, source=source, num_classes=3, looked_at=100
    )
    seen = {}

    def inspect(context, result):
        seen["context"] = context
        report.write(tmp_path / "page.html", context, result)

    result = evaluate.evaluate_images(images, labels, source, extractor, wanted, inspect=inspect)
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/png;base64,") == 5
    assert f"{result['scores']['frechet']:.5g}" in text and "FD-smallcnn" in text
    assert all(name in text for name in source.class_names)
    assert not re.search(r'src="(?!data:)', text) and [p.name for p in tmp_path.iterdir()] == [
        "page.html"
    ]
    context = seen["context"]
    assert len(context.fake.images) == 100
    lines = report.classes(result, context)
    assert sum(line["fake"] for line in lines) == pytest.approx(1.0)


def test_a_memorised_picture_is_its_own_neighbour(trained):
    source, extractor = trained
    copies = material.pick(source, "train", np.array([5, 300, 5, 17]))
    whole = np.concatenate([x for x, _ in source.batches("train", 250, None)])
    np.testing.assert_array_equal(copies[0], copies[2])
    from ganpipe.ops import images as image_ops

    np.testing.assert_array_equal(copies, image_ops.to_uint8(whole[[5, 300, 5, 17]]).numpy())
    seen = material.see(extractor, copies, keep=4)
    features, _ = material.reference(extractor, source, "train")
    from ganpipe.metrics import distances

    squares, rows = distances.nearest(seen.features, features, k=1)
    np.testing.assert_allclose(squares, 0.0, atol=1e-6)
    np.testing.assert_array_equal(material.pick(source, "train", rows[:, 0]), copies)
