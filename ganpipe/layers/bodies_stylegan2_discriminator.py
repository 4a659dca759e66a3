"""StyleGAN2's discriminator (1912.04958; 2006.06676), official to the count.

    input      fromrgb 1x1, lrelu ("skip": at every resolution, of the FIR-halved image, added)
    block      conv0 3x3 lrelu, conv1 3x3 FIR-down lrelu
               resnet: + 1x1 FIR-down shortcut without bias, both branches * sqrt(1/2)
    4x4        minibatch standard deviation -> conv 3x3 lrelu -> dense lrelu -> dense

With classes, by `conditioning`: "ada" and "ada_tf" project on a vector of the label, logit =
sum(out * vector) / sqrt(width); the vector is a dense embedding, normalised, behind 8 dense layers
of learning rate .01 ("ada", PyTorch) or none ("ada_tf"). "stylegan2" has one output a class and
takes the label's.

The dense layer behind 4x4 sees the map flattened as (row, column, channel); the official one as
(channel, row, column): `bodies_stylegan2_names` permutes.
"""

import math
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers.bodies_stylegan2 import bf16_resolutions, widths
from ganpipe.layers.bodies_stylegan2_layers import ROOT2, Mapping, Shortcut, StyleLayer, activate
from ganpipe.layers.equalized import EqualizedDense
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.minibatch_stddev import MinibatchStddev
from ganpipe.ops import fir

MAPPING_LAYERS = {"ada": 8, "ada_tf": 0}


class ConvLayer(StyleLayer):
    """1x1 or 3x3 convolution, FIR-halved where `down`, bias, leaky ReLU * sqrt 2."""

    def __init__(
        self,
        channels: int,
        filters: int,
        size: int,
        init: SeededInitializers,
        name: str,
        down: bool = False,
    ):
        super().__init__(name)
        self.down = down
        self.kernel = self.weight("kernel", (size, size, channels, filters), init.normal(1.0))
        self.bias = self.weight("bias", (filters,), "zeros")

    def call(self, x: tf.Tensor, gain: float = 1.0, clamp: float | None = None) -> tf.Tensor:
        """(B, H, W, C) -> (B, H or H / 2, ..., filters), times `gain`."""
        gain = gain * ROOT2
        scale = gain / math.sqrt(math.prod(self.kernel.shape[:-1]))
        kernel = tf.cast(tf.convert_to_tensor(self.kernel.value) * scale, x.dtype)
        x = (fir.down_conv if self.down else fir.conv)(x, kernel)
        return activate(x, tf.convert_to_tensor(self.bias.value), gain, clamp)


class DiscriminatorBlock(StyleLayer):
    """The layers of one resolution from 8 on; `fromrgb` and `skip` may be None."""

    def __init__(
        self,
        filters: int,
        after: int,
        channels: int,
        resolution: int,
        architecture: str,
        is_first: bool,
        init: SeededInitializers,
    ):
        super().__init__(f"b{resolution}")
        self.resolution, self.architecture = resolution, architecture
        self.fromrgb = self.skip = None
        if is_first or architecture == "skip":
            self.fromrgb = ConvLayer(channels, filters, 1, init, "fromrgb")
        self.conv0 = ConvLayer(filters, filters, 3, init, "conv0")
        self.conv1 = ConvLayer(filters, after, 3, init, "conv1", down=True)
        if architecture == "resnet":
            self.skip = Shortcut(filters, after, "down", init, "skip")

    def freezable(self) -> list[StyleLayer]:
        """Its layers in the order in which Freeze-D counts them."""
        layers = (self.fromrgb, self.conv0, self.conv1, self.skip)
        return [layer for layer in layers if layer is not None]

    def call(
        self,
        x: tf.Tensor | None,
        image: tf.Tensor | None,
        dtype: str = "float32",
        clamp: float | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """(features, image at this resolution) -> (features, image) at half of it."""
        x = None if x is None else tf.cast(x, dtype)
        if self.fromrgb is not None:
            y = self.fromrgb(tf.cast(image, dtype), clamp=clamp)
            x = y if x is None else x + y
            image = fir.downsample(image) if self.architecture == "skip" else None
        gain = 1.0 if self.skip is None else math.sqrt(0.5)
        y = None if self.skip is None else self.skip(x, gain)
        x = self.conv1(self.conv0(x, clamp=clamp), gain, clamp)
        return (x if y is None else x + y), image


class Epilogue(StyleLayer):
    """4x4 features -> (B, units); `fromrgb` with the skip architecture."""

    def __init__(
        self,
        filters: int,
        channels: int,
        units: int,
        architecture: str,
        group_size: int | None,
        mbstd_features: int,
        init: SeededInitializers,
    ):
        super().__init__("b4")
        self.fromrgb = None
        if architecture == "skip":
            self.fromrgb = ConvLayer(channels, filters, 1, init, "fromrgb")
        self.mbstd = MinibatchStddev(group_size, mbstd_features) if mbstd_features else None
        self.conv = ConvLayer(filters + mbstd_features, filters, 3, init, "conv")
        options = {"activation": "lrelu", "activation_gain": ROOT2}
        self.fc = EqualizedDense(filters, initializer=init.normal(1.0), name="fc", **options)
        self.fc.build((None, 16 * filters))
        self.out = EqualizedDense(units, initializer=init.normal(1.0), name="out")
        self.out.build((None, filters))

    def call(
        self, x: tf.Tensor, image: tf.Tensor | None, clamp: float | None, parts: int
    ) -> tf.Tensor:
        """(B, 4, 4, C) -> (B, units) float32; statistics within each of `parts` equal slices."""
        x = tf.cast(x, tf.float32)
        if self.fromrgb is not None:
            x = x + self.fromrgb(image)
        if self.mbstd is not None:
            slices = tf.split(x, parts) if parts > 1 else [x]
            slices = [self.mbstd(rows) for rows in slices]
            x = tf.concat(slices, axis=0) if parts > 1 else slices[0]
        x = self.conv(x, clamp=clamp)
        return self.out(self.fc(tf.reshape(x, [-1, 16 * x.shape[-1]])))


class StyleDiscriminator(keras.Model):
    """Images (B, R, R, C) about [-1, 1], or [images, labels (B,)] -> logits (B, 1) float32.

    Args:
      resolution: a power of two from 8 on.
      channels: of the image.
      num_classes: 0 for unconditional.
      channel_base: as the generator's.
      channel_max: as the generator's.
      architecture: "resnet", "skip" or "orig".
      group_size: images in a group of the minibatch standard deviation; None: the batch.
      mbstd_features: 0 leaves that layer out.
      conditioning: see the module.
      mapping_layers: dense layers behind the embedding of labels; None: as the module says.
      freeze: the first so many layers, counted from the image, are not trained (Freeze-D).
      seed: of the weights.
      num_bf16_res: resolutions computed in bfloat16; 0 for float32.
      conv_clamp: see `bodies_stylegan2`.
      name: of the model.

    Raises:
      UserError: more layers to freeze than there are.
    """

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        architecture: str = "resnet",
        group_size: int | None = 4,
        mbstd_features: int = 1,
        conditioning: str = "ada",
        mapping_layers: int | None = None,
        freeze: int = 0,
        seed: int = 0,
        num_bf16_res: int = 0,
        conv_clamp: float | None = None,
        name: str = "discriminator",
    ):
        super().__init__(name=name, dtype="float32")
        init = SeededInitializers(seed)
        self.resolution, self.num_classes = resolution, num_classes
        self.architecture, self.conditioning = architecture, conditioning
        self.conv_clamp, self.half = conv_clamp, bf16_resolutions(resolution, num_bf16_res)
        width = widths(resolution, channel_base, channel_max)
        levels = sorted(width, reverse=True)[:-1]
        self.blocks = [
            DiscriminatorBlock(
                width[level],
                width[level // 2],
                channels,
                level,
                architecture,
                level == resolution,
                init,
            )
            for level in levels
        ]
        self.mapper, units = None, 1
        if num_classes and conditioning == "stylegan2":
            units = num_classes
        elif num_classes:
            units, layers = width[4], mapping_layers
            layers = MAPPING_LAYERS[conditioning] if layers is None else layers
            self.mapper = Mapping(0, num_classes, units, layers, init)
        self.b4 = Epilogue(
            width[4], channels, units, architecture, group_size, mbstd_features, init
        )
        if freeze > len(self.freezable()):
            raise UserError(
                f"system.freeze_d: {freeze}; expected at most {len(self.freezable())}, the layers "
                "of this D that can freeze."
            )
        for layer in self.freezable()[:freeze]:
            layer.trainable = False
        self.built = True

    def freezable(self) -> list[StyleLayer]:
        """Convolutions from the image to 8x8, in the order in which Freeze-D counts them."""
        return [layer for block in self.blocks for layer in block.freezable()]

    def call(self, inputs: Any, training: bool = False, parts: int = 1) -> tf.Tensor:
        """Logits; with `parts`, that many batches in one: no group holds images of two."""
        image, labels = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        x = None
        for block in self.blocks:
            dtype = "bfloat16" if block.resolution in self.half else "float32"
            x, image = block(x, image, dtype, self.conv_clamp)
        logits = self.b4(x, image, self.conv_clamp, parts)
        if self.mapper is not None:
            vector = self.mapper(None, labels)
            return tf.reduce_sum(logits * vector, axis=1, keepdims=True) / math.sqrt(
                logits.shape[-1]
            )
        if self.num_classes:
            return tf.gather(logits, labels, axis=1, batch_dims=1)[:, tf.newaxis]
        return logits
