"""The mapping network of StyleGAN (Karras et al. 2019, arXiv 1812.04948, section 2): z -> w."""

import keras
import tensorflow as tf

from ganpipe.layers.equalized import EqualizedDense
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.pixel_norm import pixel_norm
from ganpipe.layers.stylegan_parts import GAIN


class Mapping(keras.layers.Layer):
    """z, with a learned vector of the class behind it, normalised together, through dense layers.

    2,101,248 parameters with 8 layers of 512; 2,368,512 with 10 classes: the first layer takes
    1024 then. Everything is float32.

    Args:
      latent_dim: length of z.
      w_dim: length of w.
      num_classes: 0 for none.
      depth: layers; 0 gives the normalised latent itself.
      hidden: units of all layers but the last.
      lr_multiplier: all layers learn at this share of the rate; the paper's 0.01.
      normalize: PixelNorm at the input.
      init: of the weights.
    """

    def __init__(
        self,
        latent_dim: int,
        w_dim: int,
        num_classes: int,
        depth: int,
        hidden: int,
        lr_multiplier: float,
        normalize: bool,
        init: SeededInitializers,
        name: str = "mapping",
    ):
        super().__init__(name=name, dtype="float32")
        self.num_classes, self.depth, self.normalize = num_classes, depth, normalize
        self.class_vectors = None
        if num_classes:
            self.class_vectors = self.add_weight(
                name="class_vectors",
                shape=(num_classes, latent_dim),
                initializer=init.normal(1.0),
                dtype="float32",
            )
        wide = 2 * latent_dim if num_classes else latent_dim
        for index in range(depth):
            units = w_dim if index == depth - 1 else hidden
            dense = EqualizedDense(
                units,
                gain=GAIN,
                lr_multiplier=lr_multiplier,
                activation="lrelu",
                initializer=init.normal(1.0 / lr_multiplier),
                dtype="float32",
                name=f"dense{index}",
            )
            dense.build((None, wide))
            setattr(self, f"dense{index}", dense)
            wide = units
        self.built = True

    @property
    def layers(self) -> list[EqualizedDense]:
        """The dense layers in their order."""
        return [getattr(self, f"dense{index}") for index in range(self.depth)]

    def call(self, z: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """(B, latent_dim) float32, (B,) integer labels or None -> w (B, w_dim) float32."""
        x = z
        if self.num_classes:
            # A product, not a gather: its gradient is dense, as Adam's fused kernel wants it.
            picked = tf.one_hot(tf.reshape(tf.cast(labels, tf.int32), [-1]), self.num_classes)
            x = tf.concat([x, tf.matmul(picked, self.class_vectors.value)], axis=1)
        if self.normalize:
            x = pixel_norm(x)
        for dense in self.layers:
            x = dense(x)
        return x
