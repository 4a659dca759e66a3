"""DCGAN: the convolutional GAN that trains (Radford, Metz, Chintala 2015, arXiv 1511.06434).

What the paper adds: strided convolutions instead of pooling, batch normalisation in both networks
(not on G's output, not on D's input), no hidden dense layers, ReLU in G, LeakyReLU(0.2) in D.
Followed here: pytorch/examples' and soumith/dcgan.torch's variant of the 64x64 body of figure 1
(4x4 kernels, no biases, N(0, I) latents, one fake batch for both updates, real and fake in separate
batches). At 64x64 with nf 128 the trainable parameters are 12,658,432 (G) and 11,036,160 (D).

    G: z (100) -> dense 4x4x(8 nf), BN, ReLU
         -> [4x4 transposed conv stride 2, BN, ReLU] * -> RxRxC, tanh
    D: RxRxC -> 4x4 conv stride 2, LeakyReLU
         -> [4x4 conv stride 2, BN, LeakyReLU] * -> 4x4x(8 nf) -> logit

Other sizes double or halve the stack: the map of width R/2 has nf channels, each smaller map twice
as many, at most 8 nf (the sheet ends at 64; the cap keeps 128 and above from growing past it).

Conditional (`num_classes > 0`): the one-hot label is joined to the input of every layer of both
networks, as planes on maps, like Newmu/dcgan_code's mnist/train_cond_dcgan.py. Where we differ from
that script: the body stays the one above (it has 5x5 kernels, a dense layer of 1024 and batch
normalisation without scale), and there is no weight decay. Not in the paper: the moving average of
G that sampling uses.

    python -m ganpipe train --config=dcgan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1]; R is a power of two from 8 on (32 and 64 are the
paper's).
"""

from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.conv import Conv2D, Conv2DTranspose
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.models import base
from ganpipe.ops import losses
from ganpipe.ops.optimizers import Adam

STDDEV = 0.02  # of every weight, and of the batch norm gain around 1
LEAK = 0.2


def widths(resolution: int, nf: int) -> list[int]:
    """Channels of the maps of width 4, 8, ..., resolution / 2."""
    stages = (resolution // 4).bit_length() - 1
    return [nf * min(2 ** (stages - 1 - i), 8) for i in range(stages)]


def _join_label(x: Any, one_hot: Any) -> Any:
    """Appends the one-hot label to (B, D) vectors, or as constant planes to (B, H, W, C) maps."""
    if one_hot is None:
        return x
    one_hot = keras.ops.cast(one_hot, x.dtype)
    if len(x.shape) == 2:
        return keras.ops.concatenate([x, one_hot], axis=-1)
    _, height, width, _ = x.shape
    planes = keras.ops.tile(one_hot[:, None, None, :], (1, height, width, 1))
    return keras.ops.concatenate([x, planes], axis=-1)


def _label_input(num_classes: int) -> tuple[Any, Any]:
    if not num_classes:
        return None, None
    label = keras.Input((), dtype="int32", name="label")
    return label, keras.ops.one_hot(label, num_classes)


def build_generator(
    resolution: int,
    channels: int,
    num_classes: int,
    latent_dim: int,
    nf: int,
    kernel_size: int,
    norm: str,
    seed: int,
    precision: str,
    name: str,
) -> keras.Model:
    """z (B, latent_dim) [, label (B,)] -> images (B, R, R, C) float32 in [-1, 1]."""
    init = SeededInitializers(seed)

    def normalise(x: Any) -> Any:
        if norm == "none":
            return x
        return BatchNorm(gamma_initializer=init.normal(STDDEV, 1.0), dtype=precision)(x)

    z = keras.Input((latent_dim,), name="z")
    label, one_hot = _label_input(num_classes)
    top, *rest = widths(resolution, nf)
    # Equal to Torch's 4x4 transposed convolution on a 1x1 map, and faster.
    x = keras.layers.Dense(
        16 * top, use_bias=False, kernel_initializer=init.normal(STDDEV), dtype=precision
    )(_join_label(z, one_hot))
    x = keras.ops.relu(normalise(keras.ops.reshape(x, (-1, 4, 4, top))))
    maps = [*rest, channels]
    for i, width in enumerate(maps):
        x = Conv2DTranspose(
            width,
            kernel_size,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=init.normal(STDDEV),
            dtype=precision,
        )(_join_label(x, one_hot))
        x = x if i == len(maps) - 1 else keras.ops.relu(normalise(x))
    images = keras.ops.tanh(keras.ops.cast(x, "float32"))
    return keras.Model([z, label] if num_classes else z, images, name=name)


def build_discriminator(
    resolution: int,
    channels: int,
    num_classes: int,
    nf: int,
    kernel_size: int,
    norm: str,
    seed: int,
    precision: str,
    name: str = "discriminator",
) -> keras.Model:
    """Images (B, R, R, C) in [-1, 1] [, label (B,)] -> logits (B, 1) float32."""
    init = SeededInitializers(seed)
    image = keras.Input((resolution, resolution, channels), name="image")
    label, one_hot = _label_input(num_classes)
    x = keras.ops.cast(image, keras.DTypePolicy(precision).compute_dtype)
    for i, width in enumerate(reversed(widths(resolution, nf))):
        x = Conv2D(
            width,
            kernel_size,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=init.normal(STDDEV),
            dtype=precision,
        )(_join_label(x, one_hot))
        if i > 0 and norm == "batch":
            x = BatchNorm(gamma_initializer=init.normal(STDDEV, 1.0), dtype=precision)(x)
        x = keras.ops.leaky_relu(x, LEAK)
    x = keras.ops.reshape(x, (-1, 16 * x.shape[-1]))
    # On the flattened 4x4 map this is Torch's last 4x4 convolution.
    logits = keras.layers.Dense(
        1, use_bias=False, kernel_initializer=init.normal(STDDEV), dtype="float32"
    )(_join_label(x, one_hot))
    return keras.Model([image, label] if num_classes else image, logits, name=name)


class DCGAN(base.GANSystem):
    """Deep convolutional GAN, unconditional or class-conditional.

    Args:
      resolution: power of two, 8 or more.
      channels: 1 or 3.
      num_classes: 0 for unconditional.
      latent_dim: length of z ~ N(0, I) (the paper's U(-1, 1): `latent_distribution="uniform"`).
      nf: channels of the largest map (ngf and ndf); the paper's 128.
      kernel_size: 4 (Torch) or 5 (paper's figure, Newmu).
      norm: "batch" or "none".
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16" (bfloat16 compute, float32 weights; the averaged
        generator and the last layers stay float32).
    """

    system_name = "dcgan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 100,
        nf: int = 128,
        kernel_size: int = 4,
        norm: str = "batch",
        latent_distribution: str = "normal",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if resolution < 8 or resolution & (resolution - 1):
            raise UserError(
                f"data.resolution: {resolution}; dcgan doubles from 4x4, so expected a power of "
                "two from 8 on: 8, 16, 32, 64, 128, ..."
            )
        if norm not in ("batch", "none"):
            raise UserError(f"system.norm: {norm!r}; expected 'batch' or 'none'.")
        if nf < 1 or kernel_size < 2:
            raise UserError(f"system.nf={nf}, kernel_size={kernel_size}; expected >= 1 and >= 2.")
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
        )
        body = (resolution, channels, num_classes)
        self.set_networks(
            lambda name: build_generator(
                *body,
                latent_dim,
                nf,
                kernel_size,
                norm,
                2 * seed,
                "float32" if name == "generator_ema" else precision,
                name,
            ),
            build_discriminator(*body, nf, kernel_size, norm, 2 * seed + 1, precision),
        )

    def compile(
        self,
        loss: str = "non_saturating",
        g_learning_rate: float = 2e-4,
        d_learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        beta_2: float = 0.999,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the loss and the optimisers (paper section 4: Adam, 2e-4, beta_1 0.5).

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          g_learning_rate: of the generator's Adam.
          d_learning_rate: of the discriminator's Adam.
          beta_1: of both.
          beta_2: of both.
          seed: of latents and labels drawn in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the discriminator's Adam.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.
        """
        try:
            self.d_loss, self.g_loss = losses.pair(loss)
        except ValueError as error:
            raise UserError(f"optimizer.loss: {error}") from error
        self.compile_networks(
            g_optimizer or Adam(g_learning_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_learning_rate, beta_1, beta_2, epsilon=1e-8),
            seed,
            **keras_arguments,
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of D, then one of G, on the same fakes.

        Args:
          data: images (B, R, R, C) or (images, labels (B,)).

        Returns:
          Logs, each of shape (1,).
        """
        real_images, labels, z, fake_labels = self.step_inputs(data)

        def discriminate(images: tf.Tensor, label: tf.Tensor | None) -> tf.Tensor:
            return self.discriminator(
                [images, label] if self.num_classes else images, training=True
            )

        with tf.GradientTape(watch_accessed_variables=False) as g_tape:
            g_tape.watch([v.value for v in self.generator.trainable_variables])
            fake_images = self.generator([z, fake_labels] if self.num_classes else z, training=True)

            with g_tape.stop_recording():
                with tf.GradientTape(watch_accessed_variables=False) as d_tape:
                    d_tape.watch([v.value for v in self.discriminator.trainable_variables])
                    real_logits = discriminate(real_images, labels)
                    fake_logits = discriminate(fake_images, fake_labels)
                    d_loss = self.d_loss(real_logits, fake_logits)
                d_variables = self.discriminator.trainable_variables
                d_gradients = d_tape.gradient(d_loss, d_variables)
                d_norm = self.minimize(self.d_optimizer, d_gradients, d_variables)

            # The updated D sees the same fakes again; relativistic losses need the real ones too.
            g_loss = self.g_loss(real_logits, discriminate(fake_images, fake_labels))
        g_variables = self.generator.trainable_variables
        g_norm = self.minimize(self.g_optimizer, g_tape.gradient(g_loss, g_variables), g_variables)

        return self.finish_step(
            {
                "D/loss": d_loss,
                "G/loss": g_loss,
                "D/real": tf.reduce_mean(tf.sigmoid(real_logits)),
                "D/fake": tf.reduce_mean(tf.sigmoid(fake_logits)),
                "D/grad_norm": d_norm,
                "G/grad_norm": g_norm,
            }
        )
