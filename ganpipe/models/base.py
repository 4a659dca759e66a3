"""What all systems share: EMA of the generator, sampling from seeds, the checkpoint tree, logs."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import replay
from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.models import game, inference, requests, stages
from ganpipe.models import styles as styling
from ganpipe.ops import random
from ganpipe.ops.growth import Growth
from ganpipe.ops.objective import Objective


def rows_meet(network: keras.Model) -> bool:
    """True when a row's output depends on its batch: the network has batch normalisation."""
    kinds = (BatchNorm, keras.layers.BatchNormalization)
    return any(isinstance(layer, kinds) for layer in network._flatten_layers())


def trackable(network: keras.Model) -> Any:
    """What a checkpoint holds of a network: itself, or a module with every one of its variables.

    TensorFlow does not see the layers that a subclassed Keras model keeps in lists: a checkpoint
    would lack them without a word.
    """
    seen, stack = {}, [network]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node  # held, or a number could be given out twice
            stack += node._trackable_children().values()
    if all(id(v) in seen or id(v.value) in seen for v in network.variables):
        return network
    module = tf.Module(name=network.name)
    # Not by path: Keras numbers the models of a process.
    module.weights = {
        f"{number:03d}_{variable.name}": variable.value
        for number, variable in enumerate(network.variables)
    }
    return module


class GANSystem(keras.Model):
    """A generator, its moving average and a discriminator, trained by a subclass's `train_step`.

    A subclass calls `super().__init__`, sets the networks with `set_networks`, and writes
    `compile` and `train_step` out. Networks take `z` or `[z, labels]` (generator) and `images` or
    `[images, labels]` (discriminator), labels exactly when `num_classes > 0`.

    Args:
      arguments: what the subclass was made with; kept for `get_config` and run folders.
      resolution: height in pixels, and width where a subclass's `image_shape` says no other.
      channels: channels of the images.
      num_classes: 0 for an unconditional system.
      latent_dim: length of z.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_decay: decay of the generator's moving average per step, ramped up as
        min(ema_decay, (1 + step) / (10 + step)).
      points: the "images" are points: resolution 1, channels = coordinates, any finite values.
    """

    system_name = ""
    styles = False  # True: the generator maps z to styles, see `ganpipe.models.styles`
    average_copies = False  # True: the average copies what is not trained instead of averaging it

    def __init__(
        self,
        *,
        arguments: Mapping[str, Any],
        resolution: int,
        channels: int,
        num_classes: int,
        latent_dim: int,
        latent_distribution: str = "normal",
        ema_decay: float = 0.999,
        points: bool = False,
    ):
        super().__init__(name=self.system_name)
        checks = (("resolution", resolution, 1 if points else 4), ("latent_dim", latent_dim, 1))
        for field, value, least in (*checks, ("num_classes", num_classes, 0)):
            if value < least:
                raise UserError(f"system.{field}: {value}; expected at least {least}.")
        if points and resolution != 1:
            raise UserError(f"resolution: {resolution}; points have resolution 1.")
        if not points and channels not in (1, 3):
            raise UserError(f"data.channels: {channels}; expected 1 (grey) or 3 (RGB).")
        if latent_distribution not in random.LATENT_DISTRIBUTIONS:
            raise UserError(
                f"system.latent_distribution: {latent_distribution!r}; expected one of "
                f"{', '.join(random.LATENT_DISTRIBUTIONS)}."
            )
        if not 0.0 <= ema_decay < 1.0:
            raise UserError(f"system.ema_decay: {ema_decay}; expected 0 <= decay < 1.")
        self._arguments = dict(arguments)
        self.resolution, self.channels, self.num_classes = resolution, channels, num_classes
        self.latent_dim, self.latent_distribution = latent_dim, latent_distribution
        self.ema_decay, self.points = ema_decay, points
        self.step = self.add_weight(
            name="step", shape=(), dtype="int64", initializer="zeros", trainable=False
        )
        self.built = True

    def set_networks(
        self, make_generator: Callable[[str], keras.Model], discriminator: keras.Model
    ) -> None:
        """Sets `generator`, `generator_ema` (the same weights, float32) and `discriminator`.

        Args:
          make_generator: called with a name; twice, the second time for the average.
          discriminator: a built model.
        """
        self.generator = make_generator("generator")
        self.generator_ema = make_generator("generator_ema")
        self.generator_ema.trainable = False
        self.generator_ema.set_weights(self.generator.get_weights())
        self.discriminator = discriminator

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images at full size."""
        return self.resolution, self.resolution, self.channels

    @classmethod
    def check_sizes(cls, sizes: Sequence[tuple[int, int]], settings: Mapping[str, Any]) -> None:
        """Refuses data of a size that the system cannot have, before one is made.

        Args:
          sizes: (height, width) of the data's levels up to the one to train on, the last.
          settings: the section `system` of the config.

        Raises:
          UserError: names the key, what is found and what is expected.
        """
        height, width = sizes[-1]
        if height != width:
            raise UserError(
                f"--config.data.resolution={height}: the images of the data are {height} high and "
                f"{width} wide; {cls.system_name} makes square ones, only progan others (its "
                "system.base). Prepare with --resolution."
            )

    # --- Training -------------------------------------------------------------------------------

    def compile_networks(
        self,
        g_optimizer: Any,
        d_optimizer: Any,
        seed: int,
        objective: Objective,
        n_critic: int = 1,
        growth: Growth | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Keeps and builds both optimisers; call it inside the strategy's scope.

        Args:
          g_optimizer: Keras optimiser of the generator.
          d_optimizer: Keras optimiser of the discriminator.
          seed: every random draw of training is a function of (seed, step).
          objective: losses, penalties and tips.
          n_critic: discriminator updates, each on B real images, in a train step.
          growth: the stages of a growing system; None: the full resolution from the start.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: n_critic below 1, or an objective that this discriminator cannot have.
        """
        if not isinstance(n_critic, int) or n_critic < 1:
            raise UserError(f"optimizer.n_critic: {n_critic!r}; expected 1 or more.")
        objective.check_discriminator(rows_meet(self.discriminator))
        self.objective, self.n_critic = objective, n_critic
        if objective.weights["lecam"] and not hasattr(self, "logit_average"):
            self.logit_average = self.add_weight(
                name="logit_average",
                shape=(2,),
                initializer="zeros",
                trainable=False,
                aggregation="mean",  # replicas see other logits; the average of them is kept
            )
        if objective.tips["replay"]:
            self.replay_pool = replay.ReplayPool(
                objective.tips["replay_pool"], self.image_shape, objective.tips["replay"]
            )
        keras_arguments.setdefault("jit_compile", False)
        super().compile(optimizer=None, loss=None, **keras_arguments)
        self.g_optimizer, self.d_optimizer, self.seed = g_optimizer, d_optimizer, int(seed)
        # Under tf.distribute slots made inside the replica function would break the step.
        g_optimizer.build(self.generator.trainable_variables)
        d_optimizer.build(self.discriminator.trainable_variables)
        self.growth = growth or Growth.none(self.resolution, 1, 1)
        if stages.networks(self):
            rates = (o.learning_rate for o in (g_optimizer, d_optimizer))
            self.base_rates = [float(np.asarray(rate)) for rate in rates]
            self.enter(self.growth.stages[0], fresh=False)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Keras' `fit`, after a look at the data set's shapes.

        Args:
          x: batches of images (B, H, W, C) float32 in [-1, 1] or (images, (B,) integer labels),
            with a static batch size.
          *args: as in Keras.
          **kwargs: as in Keras.

        Raises:
          UserError: images of another size, or no labels for a conditional system.
        """
        if hasattr(x, "element_spec"):
            self._check_element_spec(x.element_spec)
            kwargs.setdefault("shuffle", False)  # a data set brings its own order
        return super().fit(x, *args, **kwargs)

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Keras looks at a batch to build a model; ours are built.

        Under MultiWorkerMirroredStrategy that look fails: it feeds PerReplica labels to a mean.
        """

    def _check_element_spec(self, spec: Any) -> None:
        parts = spec if isinstance(spec, tuple) else (spec,)
        # A distributed data set gives one spec a replica; all are alike.
        parts = [tf.nest.flatten(part, expand_composites=True)[0] for part in parts]
        expected = stages.data_shape(self)
        if tuple(parts[0].shape[1:]) != expected:
            raise UserError(
                f"the data set gives images of {tuple(parts[0].shape[1:])} (height, width, "
                f"channels); this {self.system_name} is built for {expected}. Change "
                "data.resolution / data.channels, or prepare the data at that size."
            )
        if parts[0].shape[0] is None:
            raise UserError("the data set's batch size is not static: batch(..., drop_remainder)")
        if self.num_classes and len(parts) < 2:
            raise UserError(
                f"this {self.system_name} has num_classes={self.num_classes} but the data set "
                "gives images without labels: expected (images, labels) batches."
            )

    # What a train step is written with; see `ganpipe.models.game`.
    critic_batches = game.critic_batches
    draw_latents = game.draw_latents
    draw_seed = game.draw_seed
    fake_images = game.fake_images
    critic_at = game.critic_at
    critic_terms = game.critic_terms
    generator_terms = game.generator_terms
    replayed = game.replayed
    game_logs = game.game_logs
    average_decay = game.average_decay
    enter = stages.enter
    resume = stages.resume
    fade_in = stages.fade_in

    def minimize(
        self,
        optimizer: Any,
        gradients: Sequence[tf.Tensor],
        variables: Sequence[Any],
        active: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Applies the mean over replicas of `gradients`; returns their global norm, a scalar.

        Args:
          optimizer: built for `variables`.
          gradients: of this replica.
          variables: Keras variables.
          active: scalar bool; False leaves variables and slots as they are.
        """
        _, replicas = random.replica()
        # Keras sums gradients over replicas; losses are means over the replica's own batch.
        scaled = [g / replicas for g in gradients] if replicas > 1 else gradients
        touched = [*variables, *optimizer.variables] if active is not None else []
        before = [tf.identity(v.value) for v in touched]
        optimizer.apply_gradients(zip(scaled, variables, strict=True))
        for variable, old in zip(touched, before, strict=True):
            variable.assign(tf.where(active, variable.value, old))
        return tf.linalg.global_norm(gradients)

    def finish_step(self, logs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Moves the average of the generator, counts the step and shapes the logs.

        Moving statistics of normalisation layers are averaged with the weights, unless the system
        `average_copies`.
        """
        keep = self.average_decay()
        pairs = zip(self.generator_ema.variables, self.generator.variables, strict=True)
        for average, variable in pairs:
            if self.average_copies and not variable.trainable:
                average.assign(tf.cast(variable, average.dtype))
            else:
                average.assign(keep * average + (1.0 - keep) * tf.cast(variable, tf.float32))
        self.step.assign_add(1)
        # Keras reduces logs over replicas along axis 0, so scalars would fail under tf.distribute.
        return {name: tf.reshape(tf.cast(v, tf.float32), [1]) for name, v in logs.items()}

    def adapt(self, mean_image: np.ndarray) -> None:
        """Fits data-dependent initial values before step 0; most systems have none.

        Args:
          mean_image: (H, W, C) float32 in [-1, 1], the mean of the training images.
        """

    def network_state(self) -> dict[str, Any]:
        """The part of the checkpoint tree that inference needs."""
        names = ("generator", "generator_ema", "discriminator")
        return {n: trackable(getattr(self, n)) for n in names} | {"step": self.step}

    def state(self) -> dict[str, Any]:
        """The checkpoint tree. Random state and data position are functions of seed and step."""
        tree = self.network_state() | {
            "g_optimizer": self.g_optimizer,
            "d_optimizer": self.d_optimizer,
        }
        own = ("logit_average", "replay_pool")  # made by `compile` where the objective needs them
        return tree | {name: getattr(self, name) for name in own if hasattr(self, name)}

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dict(self._arguments)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "GANSystem":
        """The inverse of `get_config`."""
        return cls(**config)

    # --- Inference: see `ganpipe.models.inference`; with styles also `ganpipe.models.styles` -----

    truncate = inference.truncate
    synthesize = inference.synthesize
    synthesize_rows = inference.synthesize_rows
    logits = inference.logits
    sample = inference.sample
    generate = inference.generate
    discriminate = inference.discriminate
    map_latents = styling.map_latents
    synthesize_styles = styling.synthesize_styles

    # Compiled at the first call, once for each choice of noise; a new stage drops them.
    _rows = functools.cached_property(lambda self: tf.function(self.synthesize_rows))
    _generate = functools.cached_property(lambda self: tf.function(self.synthesize))
    _logits = functools.cached_property(lambda self: tf.function(self.logits))
    _map = functools.cached_property(lambda self: tf.function(styling.mapped))
    _styles = functools.cached_property(lambda self: tf.function(styling.synthesized))

    def call(self, z: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """`generate` at truncation 1."""
        return self.generate(z, labels)

    def export(self, path: str | os.PathLike) -> str:
        """Writes a SavedModel exactly at `path`; see `ganpipe.export.savedmodel.export`."""
        from ganpipe.export import savedmodel  # export builds on a system, not the reverse

        return str(savedmodel.export(self, path))

    def _row_labels(self, n: int, labels: Any, least: int = 0) -> np.ndarray | None:
        return requests.labels(self.system_name, self.num_classes, n, labels, least)
