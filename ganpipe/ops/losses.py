"""Adversarial losses on logits: `d_NAME(real_logits, fake_logits)`, `g_NAME(real_logits, ...)`.

Every loss is minimised, takes logits of shape (B,) or (B, ...) in any float dtype, and returns the
mean over all elements as a scalar: float32 for half-precision logits, else the dtype of the logits.
Discriminator terms (real, fake) are summed without a factor 1/2 unless the docstring shows one.
Both functions of a pair take real and fake logits, so that relativistic losses fit the same slot;
plain generator losses ignore `real_logits`.

Sources: minimax and non-saturating, Goodfellow et al. 2014 (arXiv 1406.2661) eq. 1 and section 3;
least squares, Mao et al. 2016 (1611.04076) eq. 2 and 9; Wasserstein, Arjovsky et al. 2017
(1701.07875); hinge, Miyato et al. 2018 (1802.05957) eq. 16-17; f-GAN, Nowozin et al. 2016
(1606.00709) table 6 with the orientation "real means large v"; relativistic,
Jolicoeur-Martineau 2018 (1807.00734).
"""

import math
from collections.abc import Callable

import tensorflow as tf

LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def _up(logits: tf.Tensor) -> tf.Tensor:
    """Half-precision logits become float32: a mean of many small terms needs the bits."""
    logits = tf.convert_to_tensor(logits)
    return tf.cast(logits, tf.float32) if logits.dtype.size < 4 else logits


def _mean(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x)


def d_minimax(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E softplus(-r) + E softplus(f): binary cross entropy, real = 1, fake = 0."""
    r, f = _up(real_logits), _up(fake_logits)
    return _mean(tf.nn.softplus(-r)) + _mean(tf.nn.softplus(f))


def g_minimax(real_logits: tf.Tensor | None, fake_logits: tf.Tensor) -> tf.Tensor:
    """-E softplus(f) = E log(1 - sigmoid(f)): its gradient vanishes when D is confident."""
    return -_mean(tf.nn.softplus(_up(fake_logits)))


d_non_saturating = d_minimax


def g_non_saturating(real_logits: tf.Tensor | None, fake_logits: tf.Tensor) -> tf.Tensor:
    """E softplus(-f) = -E log sigmoid(f)."""
    return _mean(tf.nn.softplus(-_up(fake_logits)))


def d_least_squares(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """1/2 E (r - 1)^2 + 1/2 E f^2: the 0/1/1 coding."""
    r, f = _up(real_logits), _up(fake_logits)
    return 0.5 * _mean((r - 1.0) ** 2) + 0.5 * _mean(f**2)


def g_least_squares(real_logits: tf.Tensor | None, fake_logits: tf.Tensor) -> tf.Tensor:
    """1/2 E (f - 1)^2."""
    return 0.5 * _mean((_up(fake_logits) - 1.0) ** 2)


def d_least_squares_pearson(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """1/2 E (r - 1)^2 + 1/2 E (f + 1)^2: the -1/1/0 coding, Pearson chi^2 at the optimum."""
    r, f = _up(real_logits), _up(fake_logits)
    return 0.5 * _mean((r - 1.0) ** 2) + 0.5 * _mean((f + 1.0) ** 2)


def g_least_squares_pearson(real_logits: tf.Tensor | None, fake_logits: tf.Tensor) -> tf.Tensor:
    """1/2 E f^2."""
    return 0.5 * _mean(_up(fake_logits) ** 2)


def d_least_squares_sigmoid(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """1/2 E (sigmoid(r) - 1)^2 + 1/2 E sigmoid(f)^2: least squares on probabilities."""
    r, f = tf.sigmoid(_up(real_logits)), tf.sigmoid(_up(fake_logits))
    return 0.5 * _mean((r - 1.0) ** 2) + 0.5 * _mean(f**2)


def g_least_squares_sigmoid(real_logits: tf.Tensor | None, fake_logits: tf.Tensor) -> tf.Tensor:
    """1/2 E (sigmoid(f) - 1)^2."""
    return 0.5 * _mean((tf.sigmoid(_up(fake_logits)) - 1.0) ** 2)


def d_wasserstein(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E f - E r: the negative of the critic's estimate of the distance."""
    return _mean(_up(fake_logits)) - _mean(_up(real_logits))


def g_wasserstein(real_logits: tf.Tensor | None, fake_logits: tf.Tensor) -> tf.Tensor:
    """-E f."""
    return -_mean(_up(fake_logits))


def d_hinge(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E max(0, 1 - r) + E max(0, 1 + f)."""
    return _mean(tf.nn.relu(1.0 - _up(real_logits))) + _mean(tf.nn.relu(1.0 + _up(fake_logits)))


g_hinge = g_wasserstein


# --- f-GAN: T = g_f(v); D: -E T(r) + E f*(T(f)); G: -E f*(T(f)), alternative: -E T(f). -----------


def _fgan(
    activation: Callable[[tf.Tensor], tf.Tensor], conjugate: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[LossFunction, LossFunction, LossFunction]:
    """(D, G, alternative G) of one divergence.

    Args:
      activation: g_f(v).
      conjugate: f*(g_f(v)) in its numerically stable form.
    """

    def d_loss(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
        return _mean(conjugate(_up(fake_logits))) - _mean(activation(_up(real_logits)))

    def g_loss(real_logits: tf.Tensor | None, fake_logits: tf.Tensor) -> tf.Tensor:
        return -_mean(conjugate(_up(fake_logits)))

    def g_alternative(real_logits: tf.Tensor | None, fake_logits: tf.Tensor) -> tf.Tensor:
        return -_mean(activation(_up(fake_logits)))

    return d_loss, g_loss, g_alternative


d_fgan_kl, g_fgan_kl, g_fgan_kl_alt = _fgan(lambda v: v, lambda v: tf.exp(v - 1.0))
d_fgan_reverse_kl, g_fgan_reverse_kl, g_fgan_reverse_kl_alt = _fgan(
    lambda v: -tf.exp(-v), lambda v: v - 1.0
)
d_fgan_pearson, g_fgan_pearson, g_fgan_pearson_alt = _fgan(lambda v: v, lambda v: 0.25 * v**2 + v)
d_fgan_squared_hellinger, g_fgan_squared_hellinger, g_fgan_squared_hellinger_alt = _fgan(
    lambda v: -tf.math.expm1(-v), tf.math.expm1
)
d_fgan_js, g_fgan_js, g_fgan_js_alt = _fgan(
    lambda v: math.log(2.0) - tf.nn.softplus(-v), lambda v: tf.nn.softplus(v) - math.log(2.0)
)
d_fgan_gan, g_fgan_gan, g_fgan_gan_alt = _fgan(lambda v: -tf.nn.softplus(-v), tf.nn.softplus)
d_fgan_total_variation, g_fgan_total_variation, g_fgan_total_variation_alt = _fgan(
    lambda v: 0.5 * tf.tanh(v), lambda v: 0.5 * tf.tanh(v)
)

d_fgan_kl_alt, d_fgan_reverse_kl_alt, d_fgan_pearson_alt = (
    d_fgan_kl,
    d_fgan_reverse_kl,
    d_fgan_pearson,
)
d_fgan_squared_hellinger_alt, d_fgan_js_alt = d_fgan_squared_hellinger, d_fgan_js
d_fgan_gan_alt, d_fgan_total_variation_alt = d_fgan_gan, d_fgan_total_variation


# --- Relativistic: the gradient reaches G through f and through E f, so G needs r too. ----------


def d_rsgan(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E softplus(-(r - f)), real and fake paired by position."""
    return _mean(tf.nn.softplus(_up(fake_logits) - _up(real_logits)))


def g_rsgan(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E softplus(-(f - r)), real and fake paired by position."""
    return d_rsgan(fake_logits, real_logits)


def d_rasgan(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E softplus(-(r - E f)) + E softplus(f - E r)."""
    r, f = _up(real_logits), _up(fake_logits)
    return _mean(tf.nn.softplus(_mean(f) - r)) + _mean(tf.nn.softplus(f - _mean(r)))


def g_rasgan(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E softplus(r - E f) + E softplus(-(f - E r))."""
    return d_rasgan(fake_logits, real_logits)


def d_ralsgan(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E (r - E f - 1)^2 + E (f - E r + 1)^2."""
    r, f = _up(real_logits), _up(fake_logits)
    return _mean((r - _mean(f) - 1.0) ** 2) + _mean((f - _mean(r) + 1.0) ** 2)


def g_ralsgan(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E (f - E r - 1)^2 + E (r - E f + 1)^2."""
    return d_ralsgan(fake_logits, real_logits)


def d_rahinge(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E max(0, 1 - (r - E f)) + E max(0, 1 + (f - E r))."""
    r, f = _up(real_logits), _up(fake_logits)
    return _mean(tf.nn.relu(1.0 - (r - _mean(f)))) + _mean(tf.nn.relu(1.0 + (f - _mean(r))))


def g_rahinge(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """E max(0, 1 + (r - E f)) + E max(0, 1 - (f - E r))."""
    return d_rahinge(fake_logits, real_logits)


NAMES = tuple(sorted(name[2:] for name in globals() if name.startswith("d_")))


def pair(name: str) -> tuple[LossFunction, LossFunction]:
    """(d_NAME, g_NAME).

    Raises:
      ValueError: unknown name; the message lists the known ones.
    """
    if name not in NAMES:
        raise ValueError(f"loss {name!r} is unknown; known losses: {', '.join(NAMES)}")
    return globals()[f"d_{name}"], globals()[f"g_{name}"]


# --- Losses with targets, for smoothed and noisy labels ------------------------------------------


def _cross_entropy(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """E softplus(l) - t l: binary cross entropy with target t, also outside [0, 1]."""
    return _mean(tf.nn.softplus(logits) - targets * logits)


_TARGETED = {
    "minimax": _cross_entropy,
    "non_saturating": _cross_entropy,
    "fgan_gan": _cross_entropy,
    "fgan_gan_alt": _cross_entropy,
    "least_squares": lambda v, t: 0.5 * _mean((v - t) ** 2),
    "least_squares_pearson": lambda v, t: 0.5 * _mean((v - (2.0 * t - 1.0)) ** 2),
    "least_squares_sigmoid": lambda v, t: 0.5 * _mean((tf.sigmoid(v) - t) ** 2),
}
TARGETED = tuple(_TARGETED)
RELATIVISTIC = ("rsgan", "rasgan", "ralsgan", "rahinge")
PROBABILITIES = ("minimax", "non_saturating", "fgan_gan", "fgan_gan_alt", "fgan_js", "fgan_js_alt")


def border(name: str) -> float | None:
    """The logit above which D takes an image for real; None where single logits mean nothing."""
    if name in RELATIVISTIC or name == "wasserstein":
        return None
    if name == "least_squares":
        return 0.5
    return 1.0 if name in ("fgan_kl", "fgan_kl_alt") else 0.0


def d_targets(
    name: str,
    real_logits: tf.Tensor,
    fake_logits: tf.Tensor,
    real_targets: tf.Tensor,
    fake_targets: tf.Tensor,
) -> tf.Tensor:
    """D loss of one of `TARGETED` with other targets than 1 for real and 0 for fake.

    Args:
      name: of the loss; targets 1 and 0 give `d_NAME`.
      real_logits: (B,).
      fake_logits: (B,).
      real_targets: (B,) or scalar.
      fake_targets: (B,) or scalar.
    """
    loss = _TARGETED[name]
    return loss(_up(real_logits), real_targets) + loss(_up(fake_logits), fake_targets)
