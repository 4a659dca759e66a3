"""Attacks: small changes of an image that change what a classifier says.

Every attack takes `logits`, any differentiable (N, H, W, C) in [0, 1] -> (N, K), is a pure function
of its arguments, runs in a `tf.function` with memory that does not grow with its steps, and returns
images in [0, 1]. They are untargeted: they lead away from `labels`. Give the true classes, or
the classifier's own predictions to keep the truth out of the attack.

FGSM: Goodfellow, Shlens, Szegedy 2014 (arXiv 1412.6572). RAND+FGSM: Tramer et al. 2017 (1705.07204,
section 4.1). PGD: Madry et al. 2017 (1706.06083). C&W: Carlini and Wagner 2016 (1608.04644,
sections V and VI). BPDA: Athalye, Carlini, Wagner 2018 (1802.00420, section 4.1.2).
"""

from collections.abc import Callable

import tensorflow as tf

Logits = Callable[[tf.Tensor], tf.Tensor]

FAR = 1e10  # a squared distance that stands for "no adversarial image found"


def row_losses(logits: Logits, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """(N,) float32 cross entropies."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=tf.cast(logits(images), tf.float32)
    )


def losses_and_gradient(
    logits: Logits, images: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """(N,) cross entropies, and (N, H, W, C) the gradient of each with respect to its image."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        losses = row_losses(logits, images, labels)
    return losses, tape.gradient(losses, images)


def clip(images: tf.Tensor, clean: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The nearest images with all pixels in [0, 1] and within epsilon of `clean`."""
    near = tf.clip_by_value(images, clean - epsilon, clean + epsilon)
    return tf.clip_by_value(near, 0.0, 1.0)


def fgsm(logits: Logits, images: tf.Tensor, labels: tf.Tensor, epsilon: float = 0.3) -> tf.Tensor:
    """One step of length epsilon along the sign of the loss's gradient.

    Args:
      logits: see the module's docstring.
      images: (N, H, W, C) float32 in [0, 1].
      labels: (N,) integer classes to lead away from.
      epsilon: largest change of a pixel.

    Returns:
      (N, H, W, C) in [0, 1].
    """
    _, gradient = losses_and_gradient(logits, images, labels)
    return tf.clip_by_value(images + epsilon * tf.sign(gradient), 0.0, 1.0)


def rand_fgsm(
    logits: Logits,
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    epsilon: float = 0.3,
    alpha: float = 0.05,
) -> tf.Tensor:
    """alpha along random signs, then FGSM with epsilon - alpha from there.

    Args:
      logits: see the module's docstring.
      images: (N, H, W, C) float32 in [0, 1].
      labels: (N,).
      seed: (2,) integer.
      epsilon: largest change of a pixel in all.
      alpha: of it, the random part.
    """
    noise = tf.random.stateless_normal(tf.shape(images), seed)
    start = tf.clip_by_value(images + alpha * tf.sign(noise), 0.0, 1.0)
    return fgsm(logits, start, labels, epsilon - alpha)


def pgd(
    logits: Logits,
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    epsilon: float = 0.3,
    step_size: float = 0.01,
    steps: int = 40,
    restarts: int = 1,
) -> tf.Tensor:
    """Signed gradient ascent in the l_inf ball from random starts; the highest loss is kept.

    Args:
      logits: see the module's docstring.
      images: (N, H, W, C) float32 in [0, 1].
      labels: (N,).
      seed: (2,) integer.
      epsilon: radius of the ball.
      step_size: of one step; the paper's 0.01 on MNIST.
      steps: of one restart.
      restarts: random starts, uniform in the ball. Of all images of all restarts, each image gets
        the one with the highest loss.
    """

    def one(index: tf.Tensor, best: tf.Tensor, best_losses: tf.Tensor) -> tuple:
        start_seed = tf.random.experimental.stateless_fold_in(seed, index)
        noise = tf.random.stateless_uniform(tf.shape(images), start_seed, -epsilon, epsilon)

        def ascend(step: tf.Tensor, x: tf.Tensor) -> tuple:
            _, gradient = losses_and_gradient(logits, x, labels)
            return step + 1, clip(x + step_size * tf.sign(gradient), images, epsilon)

        start = clip(images + noise, images, epsilon)
        _, x = tf.while_loop(
            lambda step, x: step < steps, ascend, (0, start), maximum_iterations=steps
        )
        losses = row_losses(logits, x, labels)
        better = losses > best_losses
        return index + 1, tf.where(rows(better), x, best), tf.where(better, losses, best_losses)

    losses = row_losses(logits, images, labels)
    _, best, _ = tf.while_loop(
        lambda index, *_: index < restarts,
        one,
        (0, images, losses),
        maximum_iterations=restarts,
    )
    return best


def rows(values: tf.Tensor) -> tf.Tensor:
    """(N,) -> (N, 1, 1, 1), to select whole images."""
    return tf.reshape(values, [-1, 1, 1, 1])


def carlini_wagner(
    logits: Logits,
    images: tf.Tensor,
    labels: tf.Tensor,
    steps: int = 100,
    binary_search_steps: int = 1,
    initial_constant: float = 100.0,
    learning_rate: float = 10.0,
    confidence: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The l2 attack: the least squared distance at which another class wins.

    Minimises |x' - x|^2 + c max(logit of the label - best other logit + confidence, 0) by Adam in
    the variable w of x' = (tanh w + 1) / 2, which keeps pixels in [0, 1]. c is searched for by
    bisection, for every image alone. Defaults are those of the Defense-GAN scripts (one value of c
    and a learning rate of 10); the attack's authors take 1,000 steps or more, 9 bisections from
    c = 1e-3 and a learning rate of 0.01, which finds far smaller changes.

    Args:
      logits: see the module's docstring.
      images: (N, H, W, C) float32 in [0, 1].
      labels: (N,).
      steps: of Adam for each c.
      binary_search_steps: values of c tried.
      initial_constant: first c.
      learning_rate: of Adam, on w.
      confidence: margin in logits by which the other class wins.

    Returns:
      (N, H, W, C) the nearest adversarial images found, the images themselves where none was; and
      (N,) bool, where one was.
    """
    batch = tf.shape(images)[0]
    start = tf.atanh((2.0 * images - 1.0) * (1.0 - 1e-6))

    def margins(x: tf.Tensor) -> tf.Tensor:
        values = tf.cast(logits(x), tf.float32)
        own = tf.one_hot(labels, values.shape[-1])
        label_logit = tf.reduce_sum(own * values, axis=-1)
        return label_logit - tf.reduce_max(values - FAR * own, axis=-1) + confidence

    def descend(constant: tf.Tensor, best: tf.Tensor, distances: tf.Tensor) -> tuple:
        def step(i: tf.Tensor, w: tf.Tensor, m: tf.Tensor, v: tf.Tensor, *found) -> tuple:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(w)
                x = 0.5 * (tf.tanh(w) + 1.0)
                squares = tf.reduce_sum(tf.square(x - images), axis=[1, 2, 3])
                margin = margins(x)
                total = tf.reduce_sum(squares + constant * tf.maximum(margin, 0.0))
            best, distances, won = found
            wins = margin < 0.0 if confidence == 0.0 else margin <= 0.0
            nearer = wins & (squares < distances)
            best = tf.where(rows(nearer), x, best)
            distances = tf.where(nearer, squares, distances)
            gradient = tape.gradient(total, w)
            t = tf.cast(i + 1, tf.float32)
            m = 0.9 * m + 0.1 * gradient
            v = 0.999 * v + 0.001 * tf.square(gradient)
            rate = learning_rate * tf.sqrt(1.0 - tf.pow(0.999, t)) / (1.0 - tf.pow(0.9, t))
            w = w - rate * m / (tf.sqrt(v) + 1e-8)
            return i + 1, w, m, v, best, distances, won | wins

        zeros = tf.zeros_like(start)
        # One more turn than steps: the images after the last step are looked at as well.
        *_, best, distances, won = tf.while_loop(
            lambda i, *_: i <= steps,
            step,
            (0, start, zeros, zeros, best, distances, tf.zeros([batch], tf.bool)),
            maximum_iterations=steps + 1,
        )
        return best, distances, won

    def search(turn: tf.Tensor, constant: tf.Tensor, low: tf.Tensor, high: tf.Tensor, *found):
        best, distances, won = descend(constant, *found)
        low, high = tf.where(won, low, constant), tf.where(won, constant, high)
        # Without an upper bound yet, c grows tenfold.
        constant = tf.where(high < FAR, 0.5 * (low + high), 10.0 * constant)
        return turn + 1, constant, low, high, best, distances

    ones = tf.ones([batch])
    state = (0, initial_constant * ones, 0.0 * ones, FAR * ones, images, FAR * ones)
    *_, best, distances = tf.while_loop(
        lambda turn, *_: turn < binary_search_steps,
        search,
        state,
        maximum_iterations=binary_search_steps,
    )
    return best, distances < FAR


def straight_through(project: Callable[[tf.Tensor], tf.Tensor]) -> Callable:
    """`project` forwards, the identity backwards: what BPDA puts in a defence's place.

    Args:
      project: (N, ...) -> (N, ...), nearly the identity where it matters; need not be
        differentiable.

    Returns:
      A function with the values of `project` and the gradient of x -> x.
    """

    def through(images: tf.Tensor) -> tf.Tensor:
        projected = tf.stop_gradient(project(tf.stop_gradient(images)))

        @tf.custom_gradient
        def substitute(images: tf.Tensor):
            return tf.identity(projected), lambda upstream: upstream

        return substitute(images)

    return through


class BPDA:
    """PGD against `logits(project(x))` whose backward pass takes `project` for the identity.

    A projection by descent takes seconds a batch, so the loop over the steps is Python's: it can
    show progress, and a randomised defence gets new randomness at each step (the attack then climbs
    the expected loss).

    Args:
      logits: the classifier behind the defence.
      project: (images (N, H, W, C) in [0, 1], draw, an int64 scalar) -> images in [0, 1]; `draw`
        numbers the calls.
      epsilon: as in `pgd`.
      step_size: as in `pgd`.
    """

    def __init__(
        self,
        logits: Logits,
        project: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        epsilon: float = 0.3,
        step_size: float = 0.01,
    ):
        self.epsilon = epsilon

        def step(x: tf.Tensor, clean: tf.Tensor, labels: tf.Tensor, draw: tf.Tensor) -> tuple:
            defended = straight_through(lambda images: project(images, draw))
            losses, gradient = losses_and_gradient(lambda x: logits(defended(x)), x, labels)
            return losses, clip(x + step_size * tf.sign(gradient), clean, epsilon)

        self._step = tf.function(step)

    def __call__(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        seed: int,
        steps: int = 100,
        restarts: int = 1,
        on_step: Callable[[], None] | None = None,
    ) -> tf.Tensor:
        """Attacks one batch.

        Args:
          images: (N, H, W, C) float32 in [0, 1].
          labels: (N,).
          seed: of the starts.
          steps: of one restart.
          restarts: each image keeps the last image of the restart whose mean loss over the last
            tenth of the steps was the highest: a single loss of a randomised defence says little.
          on_step: called after every step.
        """
        best, best_losses = images, tf.fill([len(images)], -FAR)
        last = max(steps // 10, 1)
        for restart in range(restarts):
            noise = tf.random.stateless_uniform(
                tf.shape(images), [seed, restart], -self.epsilon, self.epsilon
            )
            x, total = clip(images + noise, images, self.epsilon), tf.zeros([len(images)])
            for step in range(steps):
                draw = tf.constant(restart * steps + step, tf.int64)
                losses, x = self._step(x, images, labels, draw)
                total += losses if step >= steps - last else 0.0
                if on_step is not None:
                    on_step()
            better = total > best_losses
            best = tf.where(rows(better), x, best)
            best_losses = tf.where(better, total, best_losses)
        return best
