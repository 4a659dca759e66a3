"""E-GAN: several losses compete inside one training run (Wang et al. 2018, arXiv 1803.00657).

The paper: no loss of G is best all the way, so let D decide at every iteration. Each of mu parent
generators has a child by each of three mutations, that is by one Adam step on another loss:

    minimax         E log(1 - D(G(z)))      gives least where D is sure
    heuristic       -E log D(G(z))          gives most where D is sure
    least_squares   E (D(G(z)) - 1)^2       vanishes where D is sure, never huge; D = sigmoid

The mu fittest children survive, all parents die; then D trains on what the survivors showed:

    F = F_q + gamma F_d,   F_q = E D(G(z)),   F_d = -log norm(gradient of D's loss in D's weights)

Followed here: the authors' Theano code (one iteration: G evolves against a fixed D, then n_critic
updates of D). Said here because papers and codes differ:

- gamma is for the norm. The Theano code's beta is for the squared norm: gamma = 2 beta.
- Children are judged on the same real images, those that D trains on next, and on the same fresh z
  (`shared_latents=False`: each on its own). D's gradient is that of the plain cross entropy over
  all its trainable weights, real and fakes in separate passes, batch norm with batch statistics.
- D is fixed while G evolves: its moving statistics as well.
- A child inherits its parent's Adam slots and step count (the Theano code has one Adam per mutation
  that all share), and the average that sampling uses. Selection is an exact top mu.
- Parents start from weights of their own.
- `selection="nsga2"` is MO-EGAN (Baioletti et al. 2020): parents are judged again and join the
  pool, NSGA-II on (F_q, F_d) decides, the fittest survivor comes first. SMO-EGAN is not built.

    python -m ganpipe train --config=egan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1], R of 8, 16, 32, 64; body "points": (B, 1, 1, C).
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan, bodies_egan, bodies_mlp, population
from ganpipe.models import base
from ganpipe.ops import random
from ganpipe.ops import selection as selection_ops
from ganpipe.ops.objective import GeneratorTerms, Objective
from ganpipe.ops.optimizers import Adam

BODIES, SELECTIONS = ("conv", "points"), ("fitness", "nsga2")
NORMS = ("batch", "none", "spectral")
CONV_SIZES = (8, 16, 32, 64)


class Individual(NamedTuple):
    """A generator and what D says about it; with a first axis more, a pool of them.

    `quality`, `diversity`: F_q and F_d; `images`: (E, H, W, C) that it was judged on; `loss`,
    `norm`: of the step that made it, 0 for a parent; `genes`: see `ganpipe.layers.population`.
    """

    quality: tf.Tensor
    diversity: tf.Tensor
    images: tf.Tensor
    loss: tf.Tensor
    norm: tf.Tensor
    genes: list[tf.Tensor]


def _check(
    objective: Objective, mu: int, mutations: Sequence[str], selection: str, gamma: float
) -> None:
    """Refuses what `compile` cannot take."""
    if objective.relativistic:
        raise UserError(
            f"optimizer.loss: {objective.loss_name!r} is relativistic; egan's mutations and "
            "fitness are functions of the fakes' logits alone. Use non_saturating."
        )
    if objective.weights["zcr_d"]:
        raise UserError(
            "penalties.zcr_d: egan's D trains on fakes of several generators, so there is no one "
            "G(z + dz) to compare with. Set it to 0."
        )
    if not isinstance(mu, int) or mu < 1:
        raise UserError(f"optimizer.mu: {mu!r}; expected 1 or more parents.")
    known = selection_ops.MUTATIONS
    if not mutations or set(mutations) - set(known) or len(set(mutations)) < len(mutations):
        raise UserError(
            f"optimizer.mutations: {tuple(mutations)}; expected one or more of "
            f"{', '.join(known)}, each once."
        )
    if selection not in SELECTIONS:
        raise UserError(f"optimizer.selection: {selection!r}; expected fitness or nsga2.")
    if not gamma >= 0.0:
        raise UserError(f"optimizer.gamma: {gamma}; expected 0 or more (F_d has its sign).")
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        raise UserError("egan trains on one device: selection compares whole generators.")


class EGAN(base.GANSystem):
    """Evolutionary GAN, unconditional.

    Args:
      resolution: 8, 16, 32 or 64 (the paper's are 32 and 64); 1 for points.
      channels: 1 or 3; the number of coordinates for points.
      num_classes: must be 0.
      latent_dim: length of z; 100, the toys' 2.
      latent_distribution: see `ganpipe.ops.random.row_latents`; the paper's is U(-1, 1).
      body: "conv" or "points" (three hidden layers; linear output).
      nf: channels of the largest map of D; the paper's 128.
      width: units of the point networks' hidden layers; the paper's 512.
      norm: of D: "batch" (the paper's), "none" (which gradient penalties need) or "spectral".
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
    """

    system_name = "egan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 100,
        latent_distribution: str = "uniform",
        body: str = "conv",
        nf: int = 128,
        width: int = 512,
        norm: str = "batch",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if num_classes:
            raise UserError(
                f"system.num_classes: {num_classes}; egan is unconditional: data.conditional=False."
            )
        for field, value, known in (("body", body, BODIES), ("norm", norm, NORMS)):
            if value not in known:
                raise UserError(f"system.{field}: {value!r}; expected {' or '.join(known)}.")
        if body == "conv" and resolution not in CONV_SIZES:
            raise UserError(
                f"data.resolution: {resolution}; body conv takes {', '.join(map(str, CONV_SIZES))}."
            )
        if min(nf, width) < 1:
            raise UserError(f"system.nf={nf}, system.width={width}; expected 1 or more.")
        unused = {"nf": (nf, 128)} if body == "points" else {"width": (width, 512)}
        bodies_dcgan.check_unused(body, **unused)
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=0,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
            points=body == "points",
        )
        start = {"norm": norm, "seed": 2 * seed + 1, "precision": precision}
        if body == "points":
            d = bodies_mlp.build_points_discriminator(channels, width, **start)
        else:
            d = bodies_egan.build_discriminator(resolution, channels, nf, **start)
        self.set_networks(lambda name: self._make_generator(name, 2 * seed), d)

    def _make_generator(self, name: str, seed: int) -> keras.Model:
        a = self._arguments
        precision = "float32" if name == "generator_ema" else a["precision"]
        if self.points:
            return bodies_mlp.build_points_generator(
                self.channels, self.latent_dim, a["width"], 3, seed, precision, name
            )
        size = (self.resolution, self.channels, self.latent_dim)
        return bodies_egan.build_generator(*size, a["nf"], seed, precision, name)

    def compile(
        self,
        loss: str = "non_saturating",
        mu: int = 1,
        mutations: Sequence[str] = selection_ops.DEFAULT_MUTATIONS,
        selection: str = "fitness",
        gamma: float = 0.004,
        evaluation_size: int = 0,
        shared_latents: bool = True,
        n_critic: int = 3,
        g_learning_rate: float = 2e-4,
        d_learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        d_beta_1: float = 0.5,
        beta_2: float = 0.999,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the evolution and the optimisers; defaults are the Theano code's for CIFAR-10.

        Args:
          loss: of D; G's are the mutations. Not a relativistic one.
          mu: parents, 1 or more.
          mutations: names of `ganpipe.ops.selection.MUTATIONS`; a single one is an ordinary GAN.
          selection: "fitness": (mu, lambda) on F_q + gamma F_d; "nsga2": MO-EGAN.
          gamma: weight of F_d, which has the norm unsquared.
          evaluation_size: fakes a child is judged on, at least a mu-th of n_critic * B, because D
            trains on them, beside as many of the step's real images as there are; 0: n_critic * B.
          shared_latents: all children are judged on the same z.
          n_critic: the paper's n_D, updates of D in an iteration.
          g_learning_rate: of the generators' Adam.
          d_learning_rate: of the discriminator's Adam.
          beta_1: of the generators; the paper's toys and conv nets .5.
          d_beta_1: of the discriminator; the code takes 0 beside a gradient penalty of weight 2.
          beta_2: of both.
          penalties: see `ganpipe.ops.objective.PENALTIES`.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of latents drawn in training.
          g_optimizer: replaces the generators' Adam.
          d_optimizer: replaces the discriminator's Adam.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: values out of range, or losses and penalties that mean nothing here.
        """
        objective = Objective(loss, penalties=penalties, tips=tips)
        _check(objective, mu, mutations, selection, gamma)
        self.mu, self.selection, self.gamma = mu, selection, gamma
        self.evaluation_size, self.shared_latents = evaluation_size, shared_latents
        self.mutations = {name: selection_ops.MUTATIONS[name] for name in mutations}
        self.compile_networks(
            g_optimizer or Adam(g_learning_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_learning_rate, d_beta_1, beta_2, epsilon=1e-8),
            seed,
            objective,
            n_critic,
            **keras_arguments,
        )
        seeds = [2 * self._arguments["seed"] + 1_000_003 * i for i in range(1, mu)]
        others = [self._make_generator("other", s).get_weights() for s in seeds]
        self.population = population.Population(
            self.generator, self.generator_ema, self.g_optimizer, others
        )

    def state(self) -> dict[str, Any]:
        """The checkpoint tree; `population` has all parents but the first, the networks' own."""
        return super().state() | ({"population": self.population} if self.mu > 1 else {})

    # --- One iteration --------------------------------------------------------------------------

    def _d_gradients(self, images: tf.Tensor, sign: float) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradient of E softplus(sign * D(images)) in D's trainable weights, and the logits."""
        variables = self.discriminator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            # The scope drops updates of moving statistics: D is fixed here.
            with keras.StatelessScope():
                logits = tf.cast(self.critic_at()(images, None), tf.float32)
            value = tf.reduce_mean(tf.nn.softplus(sign * logits))
        return tape.gradient(value, variables), logits

    def _judge(self, z: tf.Tensor, real_gradients: list[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        """(F_q, F_d, images (E, H, W, C)) of what `generator` holds."""
        images = self.fake_images(z, None)
        fake_gradients, logits = self._d_gradients(images, 1.0)
        # The loss is a sum over real and fakes, and so is its gradient: real ones pass once.
        whole = [r + f for r, f in zip(real_gradients, fake_gradients, strict=True)]
        return selection_ops.quality_fitness(logits), selection_ops.diversity_fitness(whole), images

    def _mutate(self, z: tf.Tensor, mutation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One step of `generator` on the mutation of that number: (loss, norm of the gradient)."""
        share = tf.one_hot(mutation, len(self.mutations))
        whole, variables = self.objective, self.generator.trainable_variables
        self.objective = copy.copy(whole)  # its tips and penalties, with the mutation as G's loss
        self.objective.g_loss = lambda real, logits: tf.tensordot(
            share, tf.stack([f(logits) for f in self.mutations.values()]), 1
        )
        try:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in variables])
                images = self.fake_images(z, None)
                with keras.StatelessScope():
                    loss = self.generator_terms(images, None, z=z).loss
        finally:
            self.objective = whole
        return loss, self.minimize(self.g_optimizer, tape.gradient(loss, variables), variables)

    def _pool(
        self, parents: list[tf.Tensor], real_images: tf.Tensor, evaluated: int, batch: int
    ) -> Individual:
        """Candidates for survival: mu * M children, parent by parent; for NSGA-II the mu parents
        behind them. Leaves the last one in `generator`."""
        kinds, children = len(self.mutations), self.mu * len(self.mutations)
        size = children + (self.mu if self.selection == "nsga2" else 0)
        real_gradients, _ = self._d_gradients(real_images[:evaluated], -1.0)

        def draws(rows: int, first: int, count: int) -> tf.Tensor:
            return tf.stack([self.draw_latents(rows, draw=first + k)[0] for k in range(count)])

        training_z = draws(batch, 0, children)
        judging_z = draws(evaluated, children, 1 if self.shared_latents else size)

        def judged(number: tf.Tensor, loss: tf.Tensor, norm: tf.Tensor) -> Individual:
            z = tf.gather(judging_z, 0 if self.shared_latents else number)
            genes = self.population.read()
            return Individual(*self._judge(z, real_gradients), loss, norm, genes)

        def child(number: tf.Tensor) -> Individual:
            self.population.load([tf.gather(gene, number // kinds) for gene in parents])
            z = tf.gather(training_z, number)
            return judged(number, *self._mutate(z, number % kinds))

        def parent(number: tf.Tensor) -> Individual:
            self.population.load([tf.gather(gene, number - children) for gene in parents])
            return judged(number, tf.zeros([]), tf.zeros([]))

        scalar = tf.TensorSpec([], tf.float32)
        images = tf.TensorSpec([evaluated, *real_images.shape[1:]], tf.float32)
        genes = [tf.TensorSpec(g.shape[1:], g.dtype) for g in parents]
        spec = Individual(scalar, scalar, images, scalar, scalar, genes)

        # One after another: they share the working generator. A loop keeps the graph small.
        def run(function: Any, numbers: tf.Tensor) -> Individual:
            return tf.map_fn(function, numbers, fn_output_signature=spec, parallel_iterations=1)

        parts = [run(child, tf.range(children))]
        if size > children:
            parts.append(run(parent, tf.range(children, size)))
        return tf.nest.map_structure(lambda *part: tf.concat(part, axis=0), *parts)

    def _survivors(self, pool: Individual) -> tf.Tensor:
        """(mu,) numbers of pool members, the fittest first."""
        fitness = pool.quality + self.gamma * pool.diversity
        if self.selection == "fitness":
            return selection_ops.top_mu(fitness, self.mu)
        objectives = tf.stack([pool.quality, pool.diversity], axis=1)
        kept = selection_ops.nsga2_survivors(objectives, self.mu)
        return tf.gather(kept, selection_ops.top_mu(tf.gather(fitness, kept), self.mu))

    def _fakes_for_d(self, images: tf.Tensor, batch: int) -> list[tf.Tensor]:
        """n_critic batches of the survivors' images (mu, E, H, W, C), as many of each."""
        count = self.n_critic * batch
        share = -(-count // self.mu)
        images = tf.reshape(images[:, :share], [-1, *images.shape[2:]])
        if self.mu > 1:
            seed = random.step_seed(self.seed, self.step, random.STREAM_OBJECTIVE, 1_000)
            order = tf.argsort(tf.random.stateless_uniform([images.shape[0]], seed))
            images = tf.gather(images, order[:count])
        return tf.split(images, self.n_critic)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One generation, then n_critic updates of D.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels); labels are ignored.

        Returns:
          Logs (1,); of G those of the fittest survivor. EGAN/<mutation> is the share of survivors
          that it made, EGAN/parent that of parents (NSGA-II).
        """
        batches = [images for images, _ in self.critic_batches(data)]
        batch, real_images = batches[0].shape[0], tf.concat(batches, axis=0)
        evaluated = self._evaluated(real_images.shape[0])
        pool = self._pool(self.population.parents(), real_images, evaluated, batch)
        survivors, kinds = self._survivors(pool), len(self.mutations)
        is_child = survivors < self.mu * kinds
        parent = tf.where(is_child, survivors // kinds, survivors - self.mu * kinds)
        genes = [tf.gather(gene, survivors) for gene in pool.genes]
        self.population.settle(genes, parent, self.average_decay())

        fakes = self._fakes_for_d(tf.gather(pool.images, survivors), batch)
        variables = self.discriminator.trainable_variables
        for i, (real, fake) in enumerate(zip(batches, fakes, strict=True)):
            fake, _ = self.replayed(fake, None, draw=1 + i)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in variables])
                d_terms = self.critic_terms(real, None, fake, None, draw=1 + i)
            gradients = tape.gradient(d_terms.loss, variables)
            d_norm = self.minimize(self.d_optimizer, gradients, variables)

        best = survivors[0]
        g_terms = GeneratorTerms(pool.loss[best], d_terms.fake_logits)
        logs = self.game_logs(d_terms, g_terms, d_norm, pool.norm[best])
        logs |= {"EGAN/F_q": pool.quality[best], "EGAN/F_d": pool.diversity[best]}
        made_by = tf.where(is_child, survivors % kinds, -1)
        for k, name in enumerate(self.mutations):
            logs[f"EGAN/{name}"] = tf.reduce_mean(tf.cast(made_by == k, tf.float32))
        if self.selection == "nsga2":
            logs["EGAN/parent"] = tf.reduce_mean(tf.cast(made_by < 0, tf.float32))
        return self.finish_step(logs)

    def _evaluated(self, real_images: int) -> int:
        """Fakes a child is judged on; D's gradient is a sum of means, so real ones may be fewer."""
        size, least = self.evaluation_size or real_images, -(-real_images // self.mu)
        if size < least:
            raise UserError(
                f"optimizer.evaluation_size: {size}; D trains on the images that the survivors "
                f"were judged on, so with n_critic={self.n_critic}, mu={self.mu} and batches of "
                f"{real_images // self.n_critic}, expected {least} or more, or 0."
            )
        return size
