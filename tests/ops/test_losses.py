# ruff: noqa: E501 (the golden table is read by its columns)
"""Every row of the golden table, in float64 at rtol 1e-6, and what must hold besides."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import losses

REAL = {"A": [0, 0, 0], "B": [2, -1, 0.5], "C": [3, 1.5, 4], "D": [20, -20, 1]}
FAKE = {"A": [0, 0, 0], "B": [-1.5, 0.25, 1], "C": [-2, -3.5, -0.5], "D": [-20, 20, -1]}

# Values printed to 8 digits by NumPy in float64 from the formulas of each paper, and compared there
# with executed public code. Columns: A.D A.G B.D B.G C.D C.G D.D D.G; None: only G differs.
TABLE = {
    "minimax": "1.3862944 -0.69314718 1.4182937 -0.7802048 0.29963532 -0.2102518 13.542174 -6.7710872",
    "non_saturating": "1.3862944 0.69314718 1.4182937 0.86353813 0.29963532 2.2102518 13.542174 7.1044206",
    "least_squares": "0.5 0.5 1.4270833 1.1354167 4.9583333 5.25 267.16667 134.33333",
    "least_squares_pearson": "1 0 1.84375 0.55208333 3.4583333 2.75 267.33333 133.5",
    "least_squares_sigmoid": "0.25 0.125 0.26249351 0.15540782 0.032242882 0.35091564 0.35744316 0.25574111",
    "wasserstein": "0 0 -0.58333333 0.083333333 -4.8333333 2 -0.66666667 0.33333333",
    "hinge": "2 0 1.9166667 0.083333333 0.16666667 2 14 0.33333333",
    "fgan_kl": "0.36787944 -0.36787944 0.018150517 -0.51815052 -2.7386579 -0.094675408 59494100 -59494100",
    "fgan_kl_alt": "- 0 - 0.083333333 - 2 - 0.33333333",
    "fgan_reverse_kl": "0 1 0.070049257 1.0833333 -2.9029224 3 1.6172173e8 1.3333333",
    "fgan_reverse_kl_alt": "- 1 - 1.8761231 - 14.051076 - 1.6172173e8",
    "fgan_pearson": "0 0 -0.30729167 -0.19270833 -3.4583333 0.625 66.083333 -66.416667",
    "fgan_pearson_alt": "- 0 - 0.083333333 - 2 - 0.33333333",
    "fgan_squared_hellinger": "0 0 0.56186173 -0.40847914 -1.6455679 0.74264556 3.2344346e8 -1.6172173e8",
    "fgan_squared_hellinger_alt": "- 0 - 0.8761231 - 13.051076 - 1.6172173e8",
    "fgan_js": "0 0 0.031999328 -0.087057615 -1.086659 0.48289538 12.15588 -6.07794",
    "fgan_js_alt": "- 0 - 0.17039095 - 1.5171046 - 6.4112734",
    "fgan_gan": "1.3862944 -0.69314718 1.4182937 -0.7802048 0.29963532 -0.2102518 13.542174 -6.7710872",
    "fgan_gan_alt": "- 0.69314718 - 0.86353813 - 2.2102518 - 7.1044206",
    "fgan_total_variation": "0 0 -0.093864336 -0.016894094 -0.88730916 0.40405377 -0.25386472 0.12693236",
    "rsgan": "0.69314718 0.69314718 0.83525216 1.4185855 0.0081594806 4.8414928 13.375643 14.042309",
    "rasgan": "1.3862944 1.3862944 1.1635843 2.3302509 0.027898942 9.6945656 13.267086 14.600419",
    "ralsgan": "2 2 2.9444444 7.6111111 31.944444 70.611111 534 539.33333",
    "rahinge": "2 2 1.5277778 3.1666667 0 11.666667 13.777778 15.777778",
}


def cells():
    for name, row in TABLE.items():
        for column, text in enumerate(row.split()):
            if text != "-":
                yield name, "ABCD"[column // 2], "DG"[column % 2], float(text)


@pytest.mark.parametrize(("name", "case", "player", "expected"), list(cells()))
def test_golden_table(name, case, player, expected):
    real = tf.constant(REAL[case], tf.float64)
    fake = tf.constant(FAKE[case], tf.float64)
    loss = losses.pair(name)["DG".index(player)]
    np.testing.assert_allclose(loss(real, fake).numpy(), expected, rtol=1e-6, atol=1e-12)


def test_the_whole_table_is_there():
    assert len(list(cells())) == 168


def test_float32_is_stable_where_naive_forms_overflow():
    # A naive float32 log(1 - sigmoid(20)) is -inf.
    assert losses.g_minimax(None, tf.constant([20.0])).numpy() == pytest.approx(-20.0, abs=1e-5)


def test_half_precision_logits_give_float32_losses():
    logits = tf.constant([1.0, -2.0], tf.bfloat16)
    for name in losses.NAMES:
        for loss in losses.pair(name):
            assert loss(logits, logits).dtype == tf.float32


@pytest.mark.parametrize("name", ["minimax", "hinge", "rasgan", "fgan_js"])
def test_mean_reduction_does_not_depend_on_batch_size(name):
    real, fake = tf.constant([0.3, -1.0]), tf.constant([0.5, 2.0])
    for loss in losses.pair(name):
        twice = loss(tf.tile(real, [2]), tf.tile(fake, [2]))
        np.testing.assert_allclose(loss(real, fake), twice, rtol=1e-6)


def test_gradients_the_generator_receives():
    fake = tf.Variable([-3.0, 0.0, 3.0])
    s = 1 / (1 + np.exp(-fake.numpy()))
    for loss, expected in (
        (losses.g_minimax, -s / 3),
        (losses.g_non_saturating, -(1 - s) / 3),
    ):
        with tf.GradientTape() as tape:
            value = loss(None, fake)
        np.testing.assert_allclose(tape.gradient(value, fake), expected, rtol=1e-5)


def test_unknown_loss_names_the_known_ones():
    with pytest.raises(ValueError, match="known losses: .*hinge"):
        losses.pair("hinged")
