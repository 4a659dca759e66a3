"""A small residual network for the classification accuracy score, beside `smallcnn`.

He et al. 2016 (arXiv:1512.03385), section 4.2, the CIFAR-10 networks: a 3x3 convolution of 16
filters, three stages of n blocks with 16, 32 and 64 filters, halving at the start of the second and
the third, global average, one linear layer: depth 6 n + 2. ResNet-20 is n = 3 (0.27 million
weights at 32 x 32 x 3 and 10 classes), the ResNet-56 that Ravuri & Vinyals 2019 train on CIFAR-10
is n = 9.

Shortcuts are option A: where a stage halves, every second pixel with zero channels behind, so they
have no weights. Larger pictures halve once more for each doubling beyond 32, by a mean before the
first convolution, so that the blocks always see 32 pixels at most.

The published recipe takes 64,000 steps; `SETTINGS` is a shorter one of the same optimiser that
`smallcnn` has, which a CPU can pay. The score's name says the depth: CAS-resnet20.
"""

import keras

from ganpipe.errors import UserError
from ganpipe.metrics import smallcnn

DEPTH = 20
WIDTHS = (16, 32, 64)
LARGEST_INPUT = 32
SETTINGS = smallcnn.TrainingSettings(epochs=8.0, learning_rate=5e-3, max_steps=8000)

Tensor = keras.KerasTensor


def build(
    resolution: int,
    channels: int,
    outputs: int,
    seed: int = 0,
    dtype: str = "float32",
    *,
    depth: int = DEPTH,
) -> keras.Model:
    """The network: images (B, R, R, C) float32 in [-1, 1] -> (features (B, 64), logits (B, K)).

    Args:
      resolution: R, a power of two from 8 to 256.
      channels: C, 1 or 3.
      outputs: K.
      seed: of the initial weights.
      dtype: dtype policy of the layers before the global average.
      depth: 6 n + 2 layers with weights, n at least 1.

    Raises:
      UserError: a size that it cannot take, or another depth.
    """
    smallcnn.check_size(resolution, channels)
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise UserError(f"depth={depth}: a residual network of this kind has 6 n + 2 layers")
    layers = keras.layers
    # Apart from the seeds of `smallcnn`: equal weights would make the two scores alike.
    seeds = iter(range(10**6 + 1000 * seed, 10**6 + 1000 * (seed + 1)))

    def convolve(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
        x = layers.Conv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
            dtype=dtype,
            name=f"{name}_conv",
        )(x)
        return layers.BatchNormalization(momentum=0.95, dtype=dtype, name=f"{name}_norm")(x)

    def block(x: Tensor, filters: int, strides: int, name: str) -> Tensor:
        y = layers.ReLU(dtype=dtype, name=f"{name}_relu1")(
            convolve(x, filters, strides, f"{name}a")
        )
        y = convolve(y, filters, 1, f"{name}b")
        if strides > 1:
            x = _Shortcut(filters, dtype=dtype, name=f"{name}_shortcut")(x)
        return layers.ReLU(dtype=dtype, name=f"{name}_relu2")(layers.Add(dtype=dtype)([x, y]))

    x = images = keras.Input((resolution, resolution, channels), name="images")
    if resolution > LARGEST_INPUT:
        x = layers.AveragePooling2D(resolution // LARGEST_INPUT, dtype="float32", name="shrink")(x)
    x = layers.ReLU(dtype=dtype, name="stem_relu")(convolve(x, WIDTHS[0], 1, "stem"))
    for stage, filters in enumerate(WIDTHS):
        for i in range(blocks):
            x = block(x, filters, 2 if stage and not i else 1, f"stage{stage}_{i}")
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    logits = layers.Dense(
        outputs,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        dtype="float32",
        name="logits",
    )(features)
    return keras.Model(images, [features, logits], name=f"resnet{depth}")


@keras.saving.register_keras_serializable("ganpipe")
class _Shortcut(keras.layers.Layer):
    """Every second pixel, and zero channels behind up to `filters` in all."""

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def call(self, x):
        missing = self.filters - x.shape[-1]
        return keras.ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, missing)))

    def get_config(self):
        return super().get_config() | {"filters": self.filters}
