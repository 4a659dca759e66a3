"""The layers of StyleGAN2's networks (1912.04958; 2006.06676); see `bodies_stylegan2`.

Weights are float32 and named as the official ones. Factors sqrt 2 of the activation sit in front
of the leaky ReLU, which they commute with: in the kernel or the demodulation, the noise strength
and the bias. So a layer is one pass over the map less.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ganpipe.layers.equalized import SLOPE, EqualizedDense
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.modulated_conv import modulated_conv2d
from ganpipe.layers.pixel_norm import pixel_norm
from ganpipe.ops import fir

ROOT2 = math.sqrt(2.0)


class StyleLayer(keras.layers.Layer):
    """Weights with a name, and a function of them.

    Keras tracks the weights; its own `__call__`, which casts floats and wants tensors in every
    position, is passed by.
    """

    def __init__(self, name: str):
        super().__init__(name=name, dtype="float32", autocast=False)
        self.built = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`call`."""
        return self.call(*args, **kwargs)

    def affine(self, w_dim: int, channels: int, init: SeededInitializers) -> EqualizedDense:
        """w -> styles, 1 at the start."""
        layer = EqualizedDense(channels, bias_init=1.0, initializer=init.normal(1.0), name="affine")
        layer.build((None, w_dim))
        return layer

    def weight(self, name: str, shape: Sequence[int], initializer: Any, trainable: bool = True):
        """A float32 weight."""
        return self.add_weight(
            name=name, shape=tuple(shape), initializer=initializer, trainable=trainable
        )


def leaky_relu(x: tf.Tensor) -> tf.Tensor:
    """Slope 0.2 below 0, with a gradient told from the output, whose sign is that of x.

    So nothing but the output is kept, and TensorFlow may merge convolution, bias and activation.
    Sums of a piecewise linear function's second derivatives are left out: they are 0.
    """

    @tf.custom_gradient
    def op(x: tf.Tensor):
        y = tf.nn.leaky_relu(x, SLOPE)

        def gradient(dy: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.LeakyReluGrad(gradients=dy, features=tf.stop_gradient(y), alpha=SLOPE)

        return y, gradient

    return op(x)


def activate(
    x: tf.Tensor, bias: tf.Tensor, gain: float, clamp: float | None, noise: tf.Tensor | None = None
) -> tf.Tensor:
    """lrelu(x + gain * (bias + noise)), clamped; x brings its gain along."""
    bias = tf.cast(bias * gain, x.dtype)
    x = tf.nn.bias_add(x if noise is None else x + tf.cast(noise, x.dtype), bias)
    x = leaky_relu(x)
    return x if clamp is None else tf.clip_by_value(x, -clamp * gain / ROOT2, clamp * gain / ROOT2)


class SynthesisLayer(StyleLayer):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU.

    Args:
      channels: of the input.
      filters: of the output.
      w_dim: length of w.
      resolution: of the output.
      up: doubles the map.
      init: of the weights.
      name: of the layer.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        w_dim: int,
        resolution: int,
        up: bool,
        init: SeededInitializers,
        name: str,
    ):
        super().__init__(name)
        self.up, self.resolution = up, resolution
        self.style = self.affine(w_dim, channels, init)
        self.kernel = self.weight("kernel", (3, 3, channels, filters), init.normal(1.0))
        self.noise_strength = self.weight("noise_strength", (), "zeros")
        self.bias = self.weight("bias", (filters,), "zeros")
        self.noise = self.weight("noise", (resolution, resolution), init.normal(1.0), False)

    def call(
        self,
        x: tf.Tensor,
        w: tf.Tensor,
        noise: tf.Tensor | None = None,
        gain: float = 1.0,
        clamp: float | None = None,
        fused: bool = False,
    ) -> tf.Tensor:
        """(B or 1, H, W, C), (B, w_dim), (B or 1, R, R, 1) or None -> (B, R, R, filters)."""
        gain = gain * ROOT2
        kernel = tf.convert_to_tensor(self.kernel.value)
        x = modulated_conv2d(x, kernel, self.style(w), up=self.up, fused=fused, gain=gain)
        if noise is not None:
            noise = noise * (self.noise_strength.value * gain)
        return activate(x, tf.convert_to_tensor(self.bias.value), gain, clamp, noise)


class ToRGB(StyleLayer):
    """1x1 modulated convolution without demodulation, and bias: features -> image."""

    def __init__(
        self, channels: int, filters: int, w_dim: int, init: SeededInitializers, name: str
    ):
        super().__init__(name)
        self.style = self.affine(w_dim, channels, init)
        self.kernel = self.weight("kernel", (1, 1, channels, filters), init.normal(1.0))
        self.bias = self.weight("bias", (filters,), "zeros")

    def call(self, x: tf.Tensor, w: tf.Tensor, clamp: float | None = None) -> tf.Tensor:
        """(B, R, R, C), (B, w_dim) -> (B, R, R, filters) float32."""
        styles = self.style(w) / math.sqrt(x.shape[-1])
        # The kernel is small: one of each image is cheaper than scaling the map.
        kernels = styles[:, :, tf.newaxis] * self.kernel.value[0]
        _, height, width, channels = x.shape
        rows = tf.reshape(x, [-1, height * width, channels])
        y = tf.cast(tf.matmul(rows, tf.cast(kernels, x.dtype)), tf.float32) + self.bias.value
        y = tf.reshape(y, [-1, height, width, kernels.shape[-1]])
        return y if clamp is None else tf.clip_by_value(y, -clamp, clamp)


class Shortcut(StyleLayer):
    """1x1 convolution without bias, resampled by `fir`: "up" (in G) or "down" (in D)."""

    def __init__(
        self, channels: int, filters: int, resample: str, init: SeededInitializers, name: str
    ):
        super().__init__(name)
        self.resample = resample
        self.kernel = self.weight("kernel", (1, 1, channels, filters), init.normal(1.0))

    def call(self, x: tf.Tensor, gain: float = 1.0) -> tf.Tensor:
        """(B, H, W, C) -> (B, 2 H or H / 2, ..., filters), times `gain`."""
        scale = gain / math.sqrt(x.shape[-1])
        kernel = tf.cast(tf.convert_to_tensor(self.kernel.value) * scale, x.dtype)
        return (fir.up_conv if self.resample == "up" else fir.down_conv)(x, kernel)


class Mapping(StyleLayer):
    """z and a label -> w; in D, with `latent_dim` 0, a label -> its vector.

    Args:
      latent_dim: of z; 0 for none.
      num_classes: 0 for none.
      w_dim: of the result, and of the layers.
      layers: number of dense layers.
      init: of the weights.
      lr_multiplier: of the dense layers.
      conditioning: see the module.
      name: of the layer.
    """

    def __init__(
        self,
        latent_dim: int,
        num_classes: int,
        w_dim: int,
        layers: int,
        init: SeededInitializers,
        lr_multiplier: float = 0.01,
        conditioning: str = "ada",
        name: str = "mapping",
    ):
        super().__init__(name)
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.joint = conditioning == "stylegan2"
        width = latent_dim + (w_dim if num_classes else 0)
        self.embed, self.table = None, None
        if num_classes and self.joint:
            width = 2 * latent_dim
            self.table = self.weight("table", (num_classes, latent_dim), init.normal(1.0))
        elif num_classes:
            self.embed = EqualizedDense(w_dim, initializer=init.normal(1.0), name="embed")
            self.embed.build((None, num_classes))
        self.dense = []
        for i in range(layers):
            layer = EqualizedDense(
                w_dim,
                lr_multiplier=lr_multiplier,
                activation="lrelu",
                activation_gain=ROOT2,
                initializer=init.normal(1.0 / lr_multiplier),
                name=f"fc{i}",
            )
            layer.build((None, width))
            self.dense.append(layer)
            width = w_dim

    def call(self, z: tf.Tensor | None, labels: tf.Tensor | None = None) -> tf.Tensor:
        """(B, latent_dim) or None, (B,) integer or None -> (B, w_dim) float32."""
        parts = []
        if self.latent_dim:
            parts.append(z if self.joint else pixel_norm(z))
        if self.table is not None:
            parts.append(tf.gather(self.table.value, labels))
        if self.embed is not None:
            one_hot = tf.one_hot(labels, self.num_classes, dtype=tf.float32)
            parts.append(pixel_norm(self.embed(one_hot)))
        x = tf.concat(parts, axis=1) if len(parts) > 1 else parts[0]
        x = pixel_norm(x) if self.joint else x
        for layer in self.dense:
            x = layer(x)
        return x
