"""Divergences by quadrature against closed forms, float64."""

import math

import numpy as np
import pytest

from ganpipe.study import exact


def shifted_normals(theta, s=1.0):
    return exact.normal_density(0.0, s), exact.normal_density(theta, s)


def test_quadrature_integrates_polynomials_exactly():
    x, weights = exact.quadrature([-1.0, 0.5, 2.0], panels=3)
    np.testing.assert_allclose(weights.sum(), 3.0, rtol=1e-14)
    np.testing.assert_allclose((weights * x**9).sum(), (2.0**10 - 1) / 10, rtol=1e-13)


@pytest.mark.parametrize("theta", [0.0, 0.3, -1.0, 4.0])
@pytest.mark.parametrize("s", [1.0, 0.5])
def test_normals_have_their_closed_forms(theta, s):
    p, q = shifted_normals(theta, s)
    ends = [min(0.0, theta) - 9 * s, max(0.0, theta) + 9 * s]
    numeric = exact.divergences(p, q, ends)
    closed = exact.gaussians(theta, s)
    for name in ("kl", "reverse_kl", "tv", "w1"):
        # |p - q| has a kink inside a panel, hence not 1e-12.
        np.testing.assert_allclose(numeric[name], closed[name], rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(closed["kl"], theta**2 / (2 * s * s), rtol=1e-12)
    assert closed["w1"] == abs(theta)


def test_kl_of_normals_with_other_deviations():
    p, q = exact.normal_density(0.0, 1.0), exact.normal_density(1.0, 2.0)
    numeric = exact.divergences(p, q, [-18.0, 20.0])
    # log(s2/s1) + (s1^2 + d^2) / (2 s2^2) - 1/2, and the other way round.
    np.testing.assert_allclose(numeric["kl"], math.log(2) + 2 / 8 - 0.5, rtol=1e-10)
    np.testing.assert_allclose(numeric["reverse_kl"], -math.log(2) + 5 / 2 - 0.5, rtol=1e-10)


@pytest.mark.parametrize("theta", [0.25, 0.5, 1.0, 2.5])
def test_uniforms(theta):
    p, q = exact.uniform_density(0.0, 1.0), exact.uniform_density(theta, theta + 1.0)
    numeric = exact.divergences(p, q, sorted({0.0, 1.0, theta, theta + 1.0}))
    closed = exact.uniforms(theta)
    assert numeric["kl"] == closed["kl"] == math.inf
    assert numeric["reverse_kl"] == closed["reverse_kl"] == math.inf
    for name in ("js", "tv", "w1"):
        np.testing.assert_allclose(numeric[name], closed[name], rtol=1e-6)


def test_js_of_disjoint_is_log_2_and_only_w1_grows():
    near, far = exact.uniforms(1.0), exact.uniforms(7.0)
    assert near["js"] == far["js"] == math.log(2.0)
    assert near["tv"] == far["tv"] == 1.0
    assert (near["w1"], far["w1"]) == (1.0, 7.0)
    for theta in (1e-9, -0.5, 3.0):
        line = exact.lines(theta)
        assert line["js"] == math.log(2.0) and line["kl"] == math.inf and line["w1"] == abs(theta)
    assert set(exact.lines(0.0).values()) == {0.0}


def test_js_lies_between_its_bounds_and_is_symmetric():
    for theta in (0.5, 2.0, 6.0):
        js = exact.gaussians(theta)["js"]
        np.testing.assert_allclose(js, exact.gaussians(-theta)["js"], rtol=1e-10)
        tv = exact.gaussians(theta)["tv"]
        # Lin 1991: JS <= TV log 2; Pinsker on both halves: JS >= TV^2 / 2.
        assert tv**2 / 2 < js < tv * math.log(2)
    # By an independent sum on a fine grid.
    x = np.linspace(-12, 14, 400_001)
    p, q = (d(x) for d in shifted_normals(2.0))
    m = (p + q) / 2
    direct = np.sum(p * np.log(p / m) + q * np.log(q / m)) * (x[1] - x[0]) / 2
    np.testing.assert_allclose(exact.gaussians(2.0)["js"], direct, rtol=1e-9)
