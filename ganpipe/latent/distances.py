"""How unlike two pictures are, for projection: differentiable, in one graph with the generator.

    lpips     LPIPS with VGG16, AlexNet or SqueezeNet, whichever published file is there
    own       the small classifier of the data set, its maps compared as LPIPS does, plus pixels
    efflite0  EfficientNet-Lite0 (installs with pip, colour alone), the same way, plus pixels
    pixels    mean squared difference in [-1, 1]

Maps are compared as in LPIPS without learnt weights: each position's features scaled to length 1,
squared differences summed over channels, averaged over positions, then over the layers.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from ganpipe.errors import UserError

KINDS = ("auto", "lpips", "own", "efflite0", "pixels")
LPIPS_SIDE = 256  # larger pictures are averaged down to it first
LITE_SIDE = 128  # side that EfficientNet-Lite0 gets to see of smaller pictures; 224 of larger ones

Maps = Callable[[tf.Tensor], Sequence[tf.Tensor]]


class Distance:
    """A distance of pictures in [-1, 1].

    Attributes:
      name: stands beside every figure.

    Args:
      name: see above.
      terms: (images, targets) (B, H, W, C) -> (B,), differentiable.
      pixels: weight of the mean squared difference added to it.
    """

    def __init__(
        self, name: str, terms: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None, pixels: float
    ):
        self.terms, self.pixels = terms, float(pixels)
        self.name = name + (f" + {pixels:g} x pixels" if terms is not None and pixels else "")

    def __call__(self, images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) twice -> (B,) float32."""
        found = 0.0 if self.terms is None else self.terms(images, targets)
        if self.pixels:
            found += self.pixels * tf.reduce_mean(tf.square(images - targets), axis=(1, 2, 3))
        return found


def pixels() -> Distance:
    """Mean squared difference alone."""
    return Distance("pixels", None, 1.0)


def of_maps(name: str, maps: Maps, weight: float = 1.0) -> Distance:
    """The distance of a network's maps, plus `weight` times that of pixels.

    Args:
      name: of the network.
      maps: (B, H, W, C) in [-1, 1] -> maps (B, h, w, c) of its layers.
      weight: of the pixels.
    """

    def terms(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        found = []
        for tap in maps(tf.concat([images, targets], axis=0)):
            first, second = tf.split(_unit(tap), 2, axis=0)
            squares = tf.reduce_sum(tf.square(first - second), axis=3)
            found.append(tf.reduce_mean(squares, axis=(1, 2)))
        return tf.add_n(found) / len(found)

    return Distance(name, terms, weight)


def smallcnn(model: keras.Model, name: str = "smallcnn") -> Distance:
    """Of a network as `ganpipe.metrics.smallcnn.build` makes it."""
    taps = [layer.output for layer in model.layers if layer.name.endswith("_relu")]
    network = keras.Model(model.input, taps)
    return of_maps(name, lambda images: network(images, training=False))


def lpips(pixels: float = 0.0) -> Distance:
    """LPIPS of the first trunk whose published file is there: vgg, alex, squeeze.

    Raises:
      UserError: none of them; tells where they are published.
    """
    from ganpipe.metrics.extractors import lpips as metric

    found, missing = None, None
    for net in ("vgg", "alex", "squeeze"):
        try:
            found = metric.load(net)
            break
        except UserError as error:
            missing = missing or error
    if found is None:
        raise missing

    def terms(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        pair = [_seen(x, found.net.smallest) for x in (images, targets)]
        return tf.reduce_sum(found.per_layer(*pair), axis=1)

    return Distance(found.name, terms, pixels)


def efflite0() -> Distance:
    """Of EfficientNet-Lite0's blocks, on colour pictures.

    Raises:
      UserError: its weights are not installed.
    """
    from ganpipe.metrics.extractors import base
    from ganpipe.metrics.extractors import efficientnet_lite0 as lite

    state, _ = base.read_weights(lite.PUBLISHED, lite.installed_file(), lite.PUBLISHED.sha256)
    networks: dict[int, keras.Model] = {}

    def network(side: int) -> keras.Model:
        if side in networks:
            return networks[side]
        with tf.init_scope():  # not in the graph of the descent that asks first
            whole = lite.build()
            lite.assign(whole, state)
            inputs = keras.Input((side, side, 3))
            copy = keras.models.clone_model(whole, input_tensors=inputs)
            copy.set_weights(whole.get_weights())
            # The stem and the last block at each size: what LPIPS takes of its trunks.
            last = {}
            for layer in copy.layers:
                if len(getattr(layer.output, "shape", ())) == 4:
                    last[layer.output.shape[1]] = layer.output
            taps = [tap for size, tap in last.items() if size < side]
            networks[side] = keras.Model(inputs, taps)
        return networks[side]

    def maps(images: tf.Tensor) -> Sequence[tf.Tensor]:
        side = LITE_SIDE if images.shape[1] <= LITE_SIDE else lite.SIDE
        images = tf.image.resize(images, (side, side))
        return network(side)(((images + 1.0) * 127.5 - 127.0) / 128.0, training=False)

    return of_maps("EffLite0", maps)


def choose(kind: str, channels: int, own: Callable[[], keras.Model] | None) -> Distance:
    """The distance of a name; "auto" takes the best that there is.

    LPIPS if a published file is there; else on colour EfficientNet-Lite0, on grey the classifier
    of the data set; else pixels.

    Args:
      kind: out of `KINDS`.
      channels: of the pictures.
      own: gives the classifier of the data set, trained if need be; None where there is no data.

    Raises:
      UserError: an unknown name, or one that there is no network for.
    """
    if kind not in KINDS:
        raise UserError(f"--distance={kind}: expected one of {', '.join(KINDS)}")
    if kind == "pixels":
        return pixels()
    if kind == "own" and own is None:
        raise UserError(
            "--distance=own needs the data that the classifier is trained on: give --data"
        )
    if kind == "efflite0" and channels != 3:
        raise UserError("--distance=efflite0 sees colour alone; these pictures are grey: use own")
    if kind in ("auto", "lpips"):
        try:
            return lpips()
        except UserError:
            if kind == "lpips":
                raise
    if kind == "efflite0" or (kind == "auto" and channels == 3):
        return efflite0()
    return smallcnn(own()) if own is not None else pixels()


def _seen(images: tf.Tensor, smallest: int) -> tf.Tensor:
    """Colour, at most `LPIPS_SIDE`, at least `smallest` (doubled until it is)."""
    if images.shape[3] == 1:
        images = tf.repeat(images, 3, axis=3)
    side = images.shape[1]
    if side > LPIPS_SIDE and side % LPIPS_SIDE == 0:
        images = tf.nn.avg_pool2d(images, side // LPIPS_SIDE, side // LPIPS_SIDE, "VALID")
    elif side > LPIPS_SIDE:  # resizing by areas has no gradient
        images = tf.image.resize(images, (LPIPS_SIDE, LPIPS_SIDE), antialias=True)
    while min(images.shape[1:3]) < smallest:
        images = tf.repeat(tf.repeat(images, 2, axis=1), 2, axis=2)
    return images


def _unit(x: tf.Tensor) -> tf.Tensor:
    """Features of each position scaled to length 1; the gradient is finite where all are 0."""
    x = tf.cast(x, tf.float32)
    return x * tf.math.rsqrt(tf.reduce_sum(tf.square(x), axis=3, keepdims=True) + 1e-6)
