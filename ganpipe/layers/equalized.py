"""Layers with an equalised learning rate (Karras et al. 2018, arXiv 1710.10196, section 4.1).

A kernel is stored as N(0, 1) and multiplied by gain / sqrt(fan in) - He's standard deviation at a
gain of sqrt(2) - when it is used, so that Adam, whose updates do not depend on a parameter's scale,
moves every weight at the same relative speed. `lr_multiplier` (StyleGAN, 1812.04948) stores
N(0, 1) / multiplier and multiplies both kernel and bias by it: the same function at the start,
slower to learn. Biases are not scaled otherwise.
"""

import math
from typing import Any

import keras
import tensorflow as tf

from ganpipe.ops import conv as conv_ops
from ganpipe.ops import resample as resample_ops

SLOPE = 0.2  # of the leaky ReLU
ACTIVATIONS = (None, "lrelu")
RESAMPLES = ("", "up", "down")


class _Equalized(keras.layers.Layer):
    """Kernel, bias and activation of both layers; `shape` is the kernel's."""

    def __init__(
        self,
        *,
        gain: float,
        lr_multiplier: float,
        use_bias: bool,
        bias_init: float,
        activation: str | None,
        activation_gain: float,
        initializer: Any,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}; expected one of {ACTIVATIONS}")
        self.gain, self.lr_multiplier = gain, lr_multiplier
        self.use_bias, self.bias_init = use_bias, bias_init
        self.activation, self.activation_gain = activation, activation_gain
        self.initializer = keras.initializers.get(initializer)

    def _add_weights(self, shape: tuple[int, ...], biases: int) -> None:
        """Float32, and not cast when read: the products with the multipliers are float32."""
        self.fan_in = math.prod(shape[:-1])
        own = {"dtype": "float32", "autocast": False}
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.initializer, **own
        )
        self.bias = None
        if self.use_bias:
            start = keras.initializers.Constant(self.bias_init / self.lr_multiplier)
            self.bias = self.add_weight(name="bias", shape=(biases,), initializer=start, **own)

    def scaled_kernel(self) -> tf.Tensor:
        """The kernel that is used, float32: stored kernel * gain * multiplier / sqrt(fan in)."""
        scale = self.gain * self.lr_multiplier / math.sqrt(self.fan_in)
        return tf.convert_to_tensor(self.kernel.value) * scale

    def scaled_bias(self) -> tf.Tensor:
        """The bias that is used, float32; 0 without one."""
        if self.bias is None:
            return tf.zeros([])
        bias = tf.convert_to_tensor(self.bias.value)
        return bias if self.lr_multiplier == 1.0 else bias * self.lr_multiplier

    def _finish(self, x: tf.Tensor) -> tf.Tensor:
        """Bias, activation, gain."""
        if self.bias is not None:
            x = tf.nn.bias_add(x, tf.cast(self.scaled_bias(), x.dtype))
        if self.activation == "lrelu":
            x = tf.nn.leaky_relu(x, SLOPE)
        return x if self.activation_gain == 1.0 else x * self.activation_gain

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {
            "gain": self.gain,
            "lr_multiplier": self.lr_multiplier,
            "use_bias": self.use_bias,
            "activation": self.activation,
            "activation_gain": self.activation_gain,
            "initializer": keras.initializers.serialize(self.initializer),
        }


class EqualizedDense(_Equalized):
    """(..., I) -> (..., units): activation(x kernel * scale + bias) * activation_gain.

    Args:
      units: of the output.
      gain: see the module.
      lr_multiplier: see the module.
      use_bias: adds a bias.
      bias_init: value of the runtime bias at the start.
      activation: None or "lrelu" (slope 0.2).
      activation_gain: factor after the activation.
      initializer: of the stored kernel: N(0, 1 / lr_multiplier), from `SeededInitializers`.
      **kwargs: `name`, `dtype`.

    Raises:
      ValueError: another activation.
    """

    def __init__(
        self,
        units: int,
        *,
        gain: float = 1.0,
        lr_multiplier: float = 1.0,
        use_bias: bool = True,
        bias_init: float = 0.0,
        activation: str | None = None,
        activation_gain: float = 1.0,
        initializer: Any,
        **kwargs: Any,
    ):
        super().__init__(
            gain=gain,
            lr_multiplier=lr_multiplier,
            use_bias=use_bias,
            bias_init=bias_init,
            activation=activation,
            activation_gain=activation_gain,
            initializer=initializer,
            **kwargs,
        )
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes kernel (I, units) and bias (units,)."""
        self._add_weights((input_shape[-1], self.units), self.units)
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(..., I) -> (..., units)."""
        kernel = tf.cast(self.scaled_kernel(), inputs.dtype)
        product = tf.matmul if inputs.shape.rank == 2 else lambda x, k: tf.tensordot(x, k, 1)
        return self._finish(product(inputs, kernel))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(..., units)."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {"units": self.units, "bias_init": self.bias_init}


class EqualizedConv2D(_Equalized):
    """SAME convolution, with nearest upsampling before or 2x2 mean pooling after it on request.

    Bias and activation come last, behind the pooling. 3x3 with a resample is one strided
    convolution (see `ganpipe.ops.resample`), 1x1 convolutions work at the smaller size.

    Args:
      filters: channels of the output.
      kernel_size: odd; with a resample 1 or 3.
      gain: see the module.
      lr_multiplier: see the module.
      use_bias: adds a bias, 0 at the start.
      activation: None or "lrelu" (slope 0.2).
      activation_gain: factor after the activation.
      resample: "", "up" (the map doubles) or "down" (it halves; its sides must be even).
      initializer: of the stored kernel: N(0, 1 / lr_multiplier), from `SeededInitializers`.
      **kwargs: `name`, `dtype`.

    Raises:
      ValueError: another activation, kernel size or resample.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        gain: float = 1.0,
        lr_multiplier: float = 1.0,
        use_bias: bool = True,
        activation: str | None = None,
        activation_gain: float = 1.0,
        resample: str = "",
        initializer: Any,
        **kwargs: Any,
    ):
        super().__init__(
            gain=gain,
            lr_multiplier=lr_multiplier,
            use_bias=use_bias,
            bias_init=0.0,
            activation=activation,
            activation_gain=activation_gain,
            initializer=initializer,
            **kwargs,
        )
        sizes = (1, 3) if resample else (1, 3, 5, 7)
        if resample not in RESAMPLES or kernel_size not in sizes:
            raise ValueError(
                f"resample={resample!r}, kernel_size={kernel_size!r}; expected one of {RESAMPLES} "
                f"and of {sizes}"
            )
        self.filters, self.kernel_size, self.resample = filters, kernel_size, resample

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes kernel (k, k, C, filters) and bias (filters,)."""
        size = self.kernel_size
        self._add_weights((size, size, input_shape[-1], self.filters), self.filters)
        self.built = True

    def _convolve(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if self.resample and self.kernel_size == 3:
            up = self.resample == "up"
            op = resample_ops.upsample_conv2d if up else resample_ops.conv2d_mean_pool
            return op(x, kernel)
        x = resample_ops.mean_pool(x) if self.resample == "down" else x
        if conv_ops.on_cpu():
            x = conv_ops.conv2d(x, kernel, 1)
        else:
            x = tf.nn.conv2d(x, kernel, 1, "SAME")
        return resample_ops.upsample(x) if self.resample == "up" else x

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(N, H, W, C) -> (N, s H, s W, filters), s = 2, 1 or 1/2."""
        return self._finish(self._convolve(inputs, tf.cast(self.scaled_kernel(), inputs.dtype)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(N, s H, s W, filters)."""
        n, height, width, _ = input_shape
        if self.resample == "up":
            height, width = 2 * height, 2 * width
        elif self.resample == "down":
            height, width = height // 2, width // 2
        return (n, height, width, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "resample": self.resample,
        }
