"""Makes tests/golden/progan_networks.npz with the official code of progressive GANs.

    git clone https://github.com/tkarras/progressive_growing_of_gans
    python tools/make_progan_golden.py --checkout=progressive_growing_of_gans --out=tests/golden

The graph functions of networks.py run as they are under tf.compat.v1, with weights by name
(tests/golden/progan_recipe.py). The only stand-in: convolutions and pooling of (N, C, H, W) maps,
which TensorFlow has on GPUs only. For each lod the file has the full-size images of G, scores and
class logits of D on full-size images, and the norms of the scores' gradients by these images.
"""

import argparse
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.golden import progan_recipe as recipe

v1 = tensorflow.compat.v1


def _last(x: Any) -> Any:
    return v1.transpose(x, [0, 2, 3, 1])


def _first(x: Any) -> Any:
    return v1.transpose(x, [0, 3, 1, 2])


class _NN:
    """tf.nn, with maps (N, C, H, W) moved to (N, H, W, C) and back."""

    def __getattr__(self, name: str) -> Any:
        return getattr(v1.nn, name)

    def conv2d(self, x: Any, w: Any, strides: list[int], padding: str, data_format: str) -> Any:
        return _first(v1.nn.conv2d(_last(x), w, strides[2], padding))

    def conv2d_transpose(
        self, x: Any, w: Any, shape: list[Any], strides: list[int], padding: str, data_format: str
    ) -> Any:
        n, c, h, width = shape
        y = v1.nn.conv2d_transpose(_last(x), w, [n, h, width, c], strides[2], padding)
        y = _first(y)
        y.set_shape([None, c, h, width])
        return y

    def avg_pool(
        self, x: Any, ksize: list[int], strides: list[int], padding: str, data_format: str
    ) -> Any:
        return _first(v1.nn.avg_pool(_last(x), ksize[2], strides[2], padding))


class _TF(types.ModuleType):
    """tensorflow as of version 1."""

    nn = _NN()

    def __getattr__(self, name: str) -> Any:
        return getattr(v1, name)


def official(checkout: Path) -> types.ModuleType:
    """The module networks.py."""
    spec = importlib.util.spec_from_file_location("networks", checkout / "networks.py")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules["tensorflow"]
    sys.modules["tensorflow"] = _TF("tensorflow")
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules["tensorflow"] = before
    return module


def answers(module: types.ModuleType, case: str) -> dict[str, np.ndarray]:
    """What the official networks say at every lod of a case."""
    resolution, classes, arguments, lods = recipe.CASES[case]
    arguments = {"num_channels": 3} | recipe.NARROW | arguments
    arguments |= {"resolution": resolution, "label_size": classes}
    found: dict[str, np.ndarray] = {}
    with v1.Graph().as_default(), v1.Session() as session:
        z = v1.placeholder(v1.float32, [recipe.BATCH, recipe.LATENT])
        labels = v1.placeholder(v1.float32, [recipe.BATCH, classes])
        channels = arguments["num_channels"]
        images = v1.placeholder(v1.float32, [recipe.BATCH, channels, resolution, resolution])
        with v1.variable_scope("G", reuse=v1.AUTO_REUSE):
            made = module.G_paper(z, labels, latent_size=recipe.LATENT, **arguments)
        with v1.variable_scope("D", reuse=v1.AUTO_REUSE):
            scores, class_logits = module.D_paper(images, **arguments)
        (gradients,) = v1.gradients(v1.reduce_sum(scores), images)
        norms = v1.sqrt(v1.reduce_sum(v1.square(gradients), [1, 2, 3]))
        for variable in v1.trainable_variables():
            shape = [int(size.value) for size in variable.shape]
            variable.load(recipe.value(case, variable.op.name, shape), session)
        clocks = [v for v in v1.global_variables() if v.op.name.endswith("lod")]
        for lod in lods:
            for clock in clocks:
                clock.load(lod, session)
            latents, rows, native = recipe.inputs(case, lod)
            full = recipe.upscaled(native, resolution).transpose(0, 3, 1, 2)
            feeds = {z: latents, images: full}
            feeds[labels] = np.eye(max(classes, 1))[rows][:, :classes]
            g, *d = session.run([made, scores, class_logits, norms], feeds)
            # One pixel of each block of equal ones is enough.
            found[f"{case}/G/{lod}"] = g.transpose(0, 2, 3, 1)[
                :2, :: 1 << int(lod), :: 1 << int(lod)
            ]
            found[f"{case}/D/{lod}"] = np.concatenate(d[:2], axis=1)
            found[f"{case}/norms/{lod}"] = d[2]
    return found


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    v1.disable_v2_tensorshape()
    module = official(given.checkout)
    found: dict[str, np.ndarray] = {}
    for case in recipe.CASES:
        found |= answers(module, case)
    meta = {
        "made_by": "tools/make_progan_golden.py",
        "code": "tkarras/progressive_growing_of_gans master networks.py: G_paper, D_paper",
        "tensorflow": tensorflow.__version__,
    }
    np.savez_compressed(
        given.out / "progan_networks.npz", meta_json=np.array(json.dumps(meta)), **found
    )


if __name__ == "__main__":
    main()
