"""Linear separability: entropies by hand, the support vector machine's optimum, whole pipelines."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import separability as sep


def test_entropies_by_hand():
    # Rows (3, 1) and (0, 4) of 8: H = 1/2 (2 - 3/4 log2 3) + 1/2 0.
    tables = np.array(
        [
            [[3, 1], [0, 4]],
            [[5, 0], [0, 5]],  # The plane knows all.
            [[0, 5], [5, 0]],  # Knowing the opposite is knowing.
            [[2, 2], [2, 2]],  # It knows nothing: one bit.
            [[9, 3], [3, 1]],  # Independent: the labels' own entropy.
            [[7, 0], [0, 0]],  # One label, one side.
        ]
    )
    h = 0.75 * np.log2(4 / 3) + 0.25 * 2
    expected = [0.5 * (2 - 0.75 * np.log2(3)), 0, 0, 1, h, 0]
    np.testing.assert_allclose(sep.conditional_entropy(tables), expected, atol=1e-15)
    np.testing.assert_allclose(sep.conditional_entropy(tables / 77), expected, atol=1e-15)


def test_rows_are_the_condition():
    table = np.array([[4, 4], [0, 8]])
    assert sep.conditional_entropy(table) == pytest.approx(0.5, rel=1e-15)
    assert sep.conditional_entropy(table.T) != pytest.approx(0.5, abs=0.05)


def test_score_is_two_to_the_sum():
    assert sep.separability_score(np.array([0.5, 1, 0])) == pytest.approx(2**1.5, rel=1e-15)


def test_the_surest_samples_by_magnitude():
    # In float32 a softmax of 30 and 60 is 1 for both: the logit still ranks them.
    logits = np.array([0.1, -60, 30, -0.2, 60], np.float32)
    np.testing.assert_array_equal(sep.most_confident(logits, 3), [1, 4, 2])


def test_joint_table():
    side, label = np.array([0, 0, 1, 1, 1], bool), np.array([0, 1, 0, 1, 1], bool)
    np.testing.assert_array_equal(sep.joint_table(side, label), [[1, 1], [1, 2]])


def blobs(seed, n=400, d=6, gap=1.0):
    rng = np.random.RandomState(seed)
    label = rng.random_sample(n) < 0.4
    return rng.standard_normal((n, d)) + gap * label[:, None] * np.eye(d)[0] + 0.3, label


def loss(w, x, label, c=1.0):
    y = np.where(label, 1, -1)
    slack = np.maximum(0, 1 - y * (x @ w[:-1] + w[-1]))
    return 0.5 * w @ w + c * np.sum(slack**2)


def test_two_points_by_hand():
    # x = -1 (no), 1 (yes): w = a, b = 0 by symmetry; a^2 / 2 + 2 (1 - a)^2 is least at a = 4/5.
    w = sep.fit_linear_svm(np.array([[-1.0], [1.0]]), np.array([False, True]))
    np.testing.assert_allclose(w, [0.8, 0], atol=1e-12)
    # The bias is regularised like the rest. x = 0 (no), 2 (yes), slacks 1 + b and 1 - 2 a - b:
    # a - 4 (1 - 2 a - b) = 0 and b + 2 (1 + b) - 2 (1 - 2 a - b) = 0.
    w = sep.fit_linear_svm(np.array([[0.0], [2.0]]), np.array([False, True]))
    a, b = np.linalg.solve([[9, 4], [4, 5]], [4, 0])
    np.testing.assert_allclose(w, [a, b], atol=1e-12)


@pytest.mark.parametrize("c", [1.0, 0.01])
def test_the_optimum_has_no_gradient_and_no_better_neighbour(c):
    x, label = blobs(0)
    w = sep.fit_linear_svm(x, label, c=c)
    least = loss(w, x, label, c)
    rng = np.random.RandomState(1)
    for size in (1e-1, 1e-3, 1e-5):
        for _ in range(20):
            assert loss(w + size * rng.standard_normal(7), x, label, c) > least
    for axis in np.eye(7):
        slope = (loss(w + 1e-4 * axis, x, label, c) - loss(w - 1e-4 * axis, x, label, c)) / 2e-4
        assert abs(slope) < 1e-6 * len(x)


def test_equals_scikit_learn():
    svm = pytest.importorskip("sklearn.svm")
    for gap in (0.5, 8.0):
        x, label = blobs(2, gap=gap)
        fitted = svm.LinearSVC(tol=1e-10, max_iter=10**6).fit(x, label)
        expected = np.append(fitted.coef_[0], fitted.intercept_)
        np.testing.assert_allclose(sep.fit_linear_svm(x, label), expected, rtol=1e-5, atol=1e-6)
        found = sep.linear_separability(x, np.where(label, 1.0, -1.0), keep=len(x))
        side = svm.LinearSVC().fit(x, label).predict(x)
        np.testing.assert_array_equal(found.tables[0], sep.joint_table(side, label))


def test_badly_scaled_latents_converge():
    x, label = blobs(3)
    x *= 10.0 ** np.arange(-3, 3)
    assert np.isfinite(sep.fit_linear_svm(x, label)).all()
    x = np.repeat(x[:, :1], 4, axis=1)  # Repeated columns: the regulariser still decides.
    w = sep.fit_linear_svm(x, label)
    np.testing.assert_allclose(w[:4], w[0], rtol=1e-6)


def test_a_linear_attribute_is_separable_and_a_product_is_not():
    z = np.random.RandomState(4).standard_normal((2000, 5))
    logits = np.stack([z[:, 0] + 2 * z[:, 1], z[:, 2] * z[:, 3]], axis=1)
    found = sep.linear_separability(z, logits)
    assert found.kept == 1000
    assert found.entropies[0] < 0.05
    assert found.entropies[1] > 0.95  # exclusive or: no plane helps.
    assert found.score == pytest.approx(2 ** found.entropies.sum(), rel=1e-12)
    assert found.tables.sum() == 2000 and not found.one_sided.any()


def test_doubtful_samples_are_left_out():
    z = np.random.RandomState(5).standard_normal((1000, 3))
    logits = z[:, 0].copy()
    doubtful = np.abs(logits) < 0.3
    logits[doubtful] = 0.01 * z[doubtful, 1]  # Says something else, hardly.
    kept = int((~doubtful).sum())
    assert sep.linear_separability(z, logits, keep=kept).entropies[0] < 0.06
    assert sep.linear_separability(z, logits, keep=1000).entropies[0] > 0.2


def test_an_attribute_that_nobody_has_is_free():
    z = np.random.RandomState(6).standard_normal((100, 3))
    found = sep.linear_separability(z, np.stack([-np.ones(100), z[:, 0]], axis=1))
    assert found.one_sided.tolist() == [True, False]
    assert found.entropies[0] == 0
    np.testing.assert_array_equal(found.tables[0], [[50, 0], [0, 0]])


def test_a_logit_of_0_is_yes():
    found = sep.linear_separability(np.zeros((4, 1)), np.zeros(4), keep=4)
    np.testing.assert_array_equal(found.tables[0], [[0, 0], [0, 4]])


def test_bad_input_is_refused():
    z = np.random.RandomState(7).standard_normal((10, 3))
    with pytest.raises(UserError, match="row by row"):
        sep.linear_separability(z, np.zeros((9, 2)))
    with pytest.raises(UserError, match="NaN"):
        sep.linear_separability(z, np.full(10, np.nan))
    with pytest.raises(UserError, match="keep=11: expected 2 to 10"):
        sep.linear_separability(z, z[:, 0], keep=11)
    with pytest.raises(UserError, match="both labels"):
        sep.fit_linear_svm(z, np.ones(10, bool))
    with pytest.raises(UserError, match="NaN"):
        sep.fit_linear_svm(np.full((2, 1), np.inf), np.array([True, False]))
    for bad in (np.zeros((2, 2)), np.array([[1, -1], [1, 1]]), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="joint table"):
            sep.conditional_entropy(bad)
