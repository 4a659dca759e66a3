"""Label accuracy on a confusion made by hand; the labels that generators are asked for."""

import numpy as np
import pytest

from ganpipe.metrics import label_accuracy as la


def test_confusion_by_hand():
    asked = np.array([0, 0, 0, 1, 1, 2])
    seen = np.array([0, 0, 2, 2, 1, 2])
    found = la.label_accuracy(asked, seen, 4)
    # Rows are what was asked for: class 0 was seen as 2 once, class 1 as 2 once.
    expected = [[2, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(found.confusion, expected)
    assert found.overall == pytest.approx(4 / 6, rel=1e-15)
    np.testing.assert_allclose(found.per_class, [2 / 3, 1 / 2, 1, np.nan], rtol=1e-15)


def test_bad_labels_are_refused():
    good = np.array([0, 1])
    with pytest.raises(ValueError, match=r"predicted labels span 0\.\.2"):
        la.label_accuracy(good, np.array([0, 2]), 2)
    with pytest.raises(ValueError, match="asked labels span -1"):
        la.label_accuracy(np.array([-1, 0]), good, 2)
    with pytest.raises(ValueError, match="float64"):
        la.label_accuracy(good, good.astype(float), 2)
    with pytest.raises(ValueError, match="cannot be compared"):
        la.label_accuracy(good, good[:1], 2)
    with pytest.raises(ValueError, match="cannot be compared"):
        la.label_accuracy(good[:0], good[:0], 2)


def test_balanced_labels():
    np.testing.assert_array_equal(la.balanced_labels(5, 3), [0, 1, 2, 0, 1])


def test_proportional_labels():
    labels = la.proportional_labels(10, np.array([500, 300, 200]))
    np.testing.assert_array_equal(np.bincount(labels), [5, 3, 2])
    # 7 * (3, 2, 1) / 6 = 3.5, 2.33, 1.17: the largest remainder gets the one left over.
    np.testing.assert_array_equal(np.bincount(la.proportional_labels(7, [3, 2, 1])), [4, 2, 1])
    np.testing.assert_array_equal(la.proportional_labels(7, [9, 9]), la.balanced_labels(7, 2))
    assert len(la.proportional_labels(1, [1, 0, 1000])) == 1
    with pytest.raises(ValueError, match="no proportions"):
        la.proportional_labels(3, [0, 0])
