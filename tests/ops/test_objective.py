"""The objective: pairs that mean nothing are refused, tips do what their names say."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops import losses
from ganpipe.ops.objective import Objective

SEED = tf.constant([1, 2], tf.int64)
STEP = tf.constant(0, tf.int64)
REAL = tf.constant(np.random.default_rng(0).normal(size=(64, 4, 4, 1)), tf.float32)
FAKE = tf.constant(np.random.default_rng(1).normal(size=(64, 4, 4, 1)) + 0.5, tf.float32)


class Critic:
    """D(x) = 3 mean(x); keeps what it was called with."""

    def __init__(self):
        self.seen = []

    def __call__(self, images, labels):
        self.seen.append(images)
        return 3.0 * tf.reduce_mean(images, axis=[1, 2, 3])


def d(objective, critic=None, step=STEP, seed=SEED, **arguments):
    return objective.critic_loss(critic or Critic(), REAL, FAKE, seed=seed, step=step, **arguments)


R, F = Critic()(REAL, None), Critic()(FAKE, None)


@pytest.mark.parametrize("loss", losses.NAMES)
def test_plain_objectives_are_the_losses(loss):
    objective = Objective(loss)
    d_loss, g_loss = losses.pair(loss)
    np.testing.assert_allclose(d(objective).loss, d_loss(R, F), rtol=1e-6)
    g = objective.generator_loss(Critic(), FAKE, seed=SEED, step=STEP, real_images=REAL)
    np.testing.assert_allclose(g.loss, g_loss(R, F), rtol=1e-6)
    np.testing.assert_allclose(g.logits, F, rtol=1e-6)


def test_scale_of_the_official_gan():
    expected = 0.5 * losses.d_minimax(R, F)
    np.testing.assert_allclose(d(Objective("minimax", d_scale=0.5)).loss, expected, rtol=1e-6)


@pytest.mark.parametrize("rows_meet", [False, True])
def test_passes_are_fused_where_rows_do_not_meet(rows_meet):
    critic, objective = Critic(), Objective()
    objective.check_discriminator(rows_meet)
    terms = d(objective, critic)
    assert [len(images) for images in critic.seen] == ([64, 64] if rows_meet else [128])
    np.testing.assert_allclose(terms.real_logits, R, rtol=1e-6)
    np.testing.assert_allclose(terms.fake_logits, F, rtol=1e-6)


@pytest.mark.parametrize(("wish", "calls"), [("yes", 2), ("no", 1)])
def test_separate_batches_can_be_asked_for(wish, calls):
    critic, objective = Critic(), Objective(tips={"separate_batches": wish})
    objective.check_discriminator(wish == "no")
    d(objective, critic)
    assert len(critic.seen) == calls


@pytest.mark.parametrize("loss", losses.TARGETED)
def test_targets_of_one_and_zero_are_the_plain_loss(loss):
    d_loss, _ = losses.pair(loss)
    np.testing.assert_allclose(losses.d_targets(loss, R, F, 1.0, 0.0), d_loss(R, F), rtol=1e-5)


def test_one_sided_smoothing_moves_the_real_target_only():
    r, f = R.numpy().astype(np.float64), F.numpy().astype(np.float64)
    smooth = d(Objective(tips={"label_smoothing": 0.1})).adversarial
    p = 1 / (1 + np.exp(-r))
    expected = -np.mean(0.9 * np.log(p) + 0.1 * np.log(1 - p)) + np.mean(np.log1p(np.exp(f)))
    np.testing.assert_allclose(smooth, expected, rtol=1e-6)
    smooth = d(Objective("least_squares", tips={"label_smoothing": 0.1})).adversarial
    expected = 0.5 * np.mean((r - 0.9) ** 2) + 0.5 * np.mean(f**2)
    np.testing.assert_allclose(smooth, expected, rtol=1e-6)


def test_noisy_targets_are_drawn_a_row_and_linear_in_the_target():
    tips = {"real_target": (0.7, 1.2), "fake_target": (0.0, 0.3)}
    many = [
        float(d(Objective(tips=tips), seed=tf.constant([1, i], tf.int64)).adversarial)
        for i in range(200)
    ]
    assert np.std(many) > 1e-4
    # Cross entropy is linear in the target: the mean is that of the mean targets, .95 and .15.
    expected = losses.d_targets("non_saturating", R, F, 0.95, 0.15)
    np.testing.assert_allclose(np.mean(many), expected, atol=4 * np.std(many) / np.sqrt(200))


def test_flips_swap_pairs():
    plain, turned = losses.d_minimax(R, F), losses.d_minimax(F, R)
    p = 0.25
    many = [
        float(
            d(
                Objective("minimax", tips={"flip_labels": p}), seed=tf.constant([2, i], tf.int64)
            ).adversarial
        )
        for i in range(200)
    ]
    error = 4 * np.std(many) / np.sqrt(200)
    np.testing.assert_allclose(np.mean(many), (1 - p) * plain + p * turned, atol=error)
    terms = d(Objective("minimax", tips={"flip_labels": p}))
    np.testing.assert_allclose(terms.real_logits, R, rtol=1e-6)  # accuracies stay honest


def test_instance_noise_falls_linearly_and_reaches_both_players():
    objective = Objective(tips={"instance_noise": 0.5, "instance_noise_steps": 100})
    for step, sigma in ((0, 0.5), (50, 0.25), (100, 0.0), (500, 0.0)):
        critic = Critic()
        d(objective, critic, step=tf.constant(step, tf.int64))
        noise = (critic.seen[0] - tf.concat([REAL, FAKE], 0)).numpy()
        np.testing.assert_allclose(noise.std(), sigma, rtol=0.1, atol=1e-6)
        critic = Critic()
        objective.generator_loss(critic, FAKE, seed=SEED, step=tf.constant(step, tf.int64))
        np.testing.assert_allclose(
            (critic.seen[0] - FAKE).numpy().std(), sigma, rtol=0.1, atol=1e-6
        )


def test_top_k_keeps_the_best_fakes():
    objective = Objective("wasserstein", tips={"top_k_gamma": 0.5, "top_k_every": 10})
    for step, k in ((0, 64), (10, 32), (100, 32)):
        g = objective.generator_loss(Critic(), FAKE, seed=SEED, step=tf.constant(step, tf.int64))
        np.testing.assert_allclose(g.loss, -np.sort(F.numpy())[-k:].mean(), rtol=1e-5)
        assert len(g.logits) == 64


def test_penalties_are_weighted_and_added():
    # Gradient of 3 mean(x) over 16 pixels: norm 3 / 4.
    gp = d(Objective("wasserstein", penalties={"gp": 10.0}))
    np.testing.assert_allclose(gp.penalty, 10 * (3 / 4 - 1) ** 2, rtol=1e-5)
    np.testing.assert_allclose(gp.loss, gp.adversarial + gp.penalty, rtol=1e-6)
    np.testing.assert_allclose(gp.gradient_norm, 3 / 4, rtol=1e-5)
    both = d(Objective("wasserstein", penalties={"r1": 10.0, "r2": 2.0}))
    np.testing.assert_allclose(both.penalty, (10 + 2) / 2 * 9 / 16, rtol=1e-5)
    off = d(Objective(penalties={"lecam": 0.3}), logit_average=tf.constant([0.2, -0.1]))
    np.testing.assert_allclose(off.penalty, 0.0)  # before step 1000
    lecam = d(
        Objective(penalties={"lecam": 0.3}),
        step=tf.constant(1000, tf.int64),
        logit_average=tf.constant([0.2, -0.1], tf.float32),
    )
    expected = np.mean(np.maximum(R + 0.1, 0) ** 2) + np.mean(np.maximum(0.2 - F, 0) ** 2)
    np.testing.assert_allclose(lecam.penalty, 0.3 * expected, rtol=1e-5)


def test_a_system_default_can_be_switched_off():
    assert Objective(default_penalties={"gp": 10.0}).weights["gp"] == 10.0
    off = Objective(default_penalties={"gp": 10.0}, penalties={"gp": 0.0})
    assert d(off).penalty is None


BAD = [
    ({"loss": "wasserstain"}, "known losses"),
    ({"penalties": {"gpp": 1.0}}, "penalties.gpp: unknown. Did you mean 'gp'"),
    ({"penalties": {"r1": -1.0}}, "penalties.r1: -1.0"),
    ({"penalties": {"r1": float("nan")}}, "penalties.r1: nan"),
    ({"penalties": {"gp": 1.0, "gp_one_sided": 1.0}}, "expected one of them"),
    ({"tips": {"label_smoothing": 1.0}}, "tips.label_smoothing: 1.0"),
    ({"tips": {"real_target": (1.2, 0.7)}}, "tips.real_target"),
    ({"tips": {"instance_noise_steps": 0}}, "tips.instance_noise_steps"),
    ({"tips": {"separate_batches": "maybe"}}, "auto, yes or no"),
    ({"loss": "hinge", "tips": {"label_smoothing": 0.1}}, "no targets to smooth"),
    ({"loss": "rasgan", "tips": {"top_k_gamma": 0.9}}, "relativistic"),
    ({"penalties": {"zcr_d": 1.0}, "tips": {"replay": 0.5}}, "have no z"),
    ({"tips": {"real_target": 0.9}}, "expected two numbers"),
    ({"tips": {"real_target": ("a", "b")}}, "expected two numbers"),
    ({"tips": {"fake_target": (0.0, 0.1, 0.2)}}, "expected two numbers"),
    ({"tips": {"label_smoothing": "0.1"}}, "expected a finite number"),
    ({"tips": {"instance_noise": float("nan")}}, "expected a finite number"),
    ({"tips": {"top_k_every": 1.5}}, "expected a whole number"),
    ({"penalties": {"gp": float("inf")}}, "expected a finite number"),
    ({"tips": {"separate_batches": 1}}, "expected a word"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_refusals_name_the_field_and_the_reason(arguments, message):
    with pytest.raises(UserError, match=message):
        Objective(**arguments)


def test_per_row_penalties_refuse_batch_normalisation():
    objective = Objective(penalties={"r1": 1.0})
    objective.check_discriminator(False)
    with pytest.raises(UserError, match="mixes rows"):
        objective.check_discriminator(True)


def test_paired_losses_refuse_unequal_batches():
    Objective("rasgan").check_batches(64, 128)
    Objective("rsgan").check_batches(64, 64)
    with pytest.raises(UserError, match="pairs each fake"):
        Objective("rsgan").check_batches(64, 128)
