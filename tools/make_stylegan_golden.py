"""Makes tests/golden/stylegan_networks.npz with the official code of StyleGAN.

    git clone https://github.com/NVlabs/stylegan
    python tools/make_stylegan_golden.py --checkout=stylegan --out=tests/golden

The graph functions of training/networks_stylegan.py run as they are under tf.compat.v1, with
weights by name (tests/golden/stylegan_recipe.py). Stand-ins: `dnnlib` and its Network class, of
which they need little, and convolutions of (N, C, H, W) maps, which TensorFlow has on GPUs only.
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
from tests.golden import stylegan_recipe as recipe

v1 = tensorflow.compat.v1


def _nhwc(x: Any) -> Any:
    return v1.transpose(x, [0, 2, 3, 1])


def _nchw(x: Any) -> Any:
    return v1.transpose(x, [0, 3, 1, 2])


class _NN:
    """tf.nn, with convolutions and pooling of NCHW maps through NHWC ones."""

    def __getattr__(self, name: str) -> Any:
        return getattr(v1.nn, name)

    @staticmethod
    def _moved(strides: list[int]) -> list[int]:
        return [1, strides[2], strides[3], 1]

    def conv2d(self, x: Any, w: Any, strides: list[int], padding: str, data_format: str) -> Any:
        return _nchw(v1.nn.conv2d(_nhwc(x), w, self._moved(strides), padding))

    def depthwise_conv2d(
        self, x: Any, w: Any, strides: list[int], padding: str, data_format: str
    ) -> Any:
        return _nchw(v1.nn.depthwise_conv2d(_nhwc(x), w, self._moved(strides), padding))

    def conv2d_transpose(
        self, x: Any, w: Any, shape: list[Any], strides: list[int], padding: str, data_format: str
    ) -> Any:
        shape = [shape[0], shape[2], shape[3], shape[1]]
        y = _nchw(v1.nn.conv2d_transpose(_nhwc(x), w, shape, self._moved(strides), padding))
        y.set_shape([None, *(shape[i] for i in (3, 1, 2))])
        return y

    def avg_pool(
        self, x: Any, ksize: list[int], strides: list[int], padding: str, data_format: str
    ) -> Any:
        sizes = self._moved(ksize), self._moved(strides)
        return _nchw(v1.nn.avg_pool(_nhwc(x), *sizes, padding))


class _TF(types.ModuleType):
    """tensorflow as of version 1."""

    nn = _NN()

    def __getattr__(self, name: str) -> Any:
        return getattr(v1, name)


class _Dict(dict):
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class _Part:
    """A sub-network: a graph function in a variable scope of its own."""

    def __init__(self, name: str, func_name: Any, **arguments: Any):
        self.name, self.function, self.arguments = name, func_name, arguments
        layers = 2 * int(np.log2(arguments["resolution"])) - 2
        styles = layers if arguments.get("use_styles", True) else 1
        self.input_shape = [None, styles, arguments["dlatent_size"]]

    def get_output_for(self, *inputs: Any, **dynamic: Any) -> Any:
        with v1.variable_scope(self.name, reuse=v1.AUTO_REUSE):
            return self.function(*inputs, **(self.arguments | dynamic))

    def find_var(self, name: str) -> Any:
        with v1.variable_scope(self.name, reuse=v1.AUTO_REUSE):
            return v1.get_variable(name, initializer=np.float32(0), trainable=False)


def official(checkout: Path) -> types.ModuleType:
    """The module training/networks_stylegan.py."""
    dnnlib, tflib = types.ModuleType("dnnlib"), types.ModuleType("dnnlib.tflib")
    dnnlib.EasyDict, dnnlib.tflib, tflib.Network = _Dict, tflib, _Part
    tflib.is_tf_expression = lambda x: isinstance(x, (v1.Tensor, v1.Variable))
    tflib.lerp = lambda a, b, t: a + (b - a) * t
    tflib.lerp_clip = lambda a, b, t: a + (b - a) * v1.clip_by_value(t, 0.0, 1.0)
    stand_ins = {"tensorflow": _TF("tensorflow"), "dnnlib": dnnlib, "dnnlib.tflib": tflib}
    path = checkout / "training" / "networks_stylegan.py"
    spec = importlib.util.spec_from_file_location("networks_stylegan", path)
    module = importlib.util.module_from_spec(spec)
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        spec.loader.exec_module(module)
    finally:
        for name, old in before.items():
            sys.modules.pop(name)
            if old is not None:
                sys.modules[name] = old
    return module


def answers(module: types.ModuleType, case: str, pairs: Any, kept: Any) -> dict[str, np.ndarray]:
    """Images and scores of a case, and the number of the networks' parameters."""
    resolution, classes, arguments, _ = recipe.CASES[case]
    arguments = recipe.NARROW | arguments
    z, labels, images = recipe.inputs(case)
    sizes = {"latent_size": recipe.LATENT, "dlatent_size": recipe.LATENT}
    sizes |= {"mapping_fmaps": recipe.LATENT, "label_size": classes}
    shared = {"num_channels": 3, "resolution": resolution} | arguments
    found: dict[str, np.ndarray] = {}
    with v1.Graph().as_default(), v1.Session() as session:
        psi = v1.placeholder(v1.float32, [])
        feeds = [v1.constant(x) for x in (z, labels, images.transpose(0, 3, 1, 2))]
        with v1.variable_scope("G", reuse=v1.AUTO_REUSE):
            made = module.G_style(
                *feeds[:2],
                components=_Dict(),
                **(shared | sizes | {"truncation_psi": psi, "randomize_noise": False}),
            )
        with v1.variable_scope("D", reuse=v1.AUTO_REUSE):
            scores = module.D_basic(
                feeds[2], feeds[1], label_size=classes, mbstd_group_size=2, **shared
            )
        lods = []
        for variable in v1.global_variables():
            scope, _, name = variable.op.name.partition("/")
            if name.endswith("lod"):
                lods.append(variable)
                session.run(variable.initializer)
                continue
            shape = [int(size.value) for size in variable.shape]
            start = recipe.value(case, f"{scope}/{name}", shape)
            variable.load(start, session)
        for net in "GD":
            counts = [v1.trainable_variables(f"{net}/"), v1.global_variables(f"{net}/")]
            counts = [
                sum(int(np.prod([int(size.value) for size in v.shape])) for v in vs)
                for vs in counts
            ]
            found[f"{case}/{net}/count"] = np.array(counts)
        for lod, strength in pairs:
            for variable in lods:
                variable.load(lod, session)
            g, d = session.run([made, scores], {psi: strength})
            found[f"{case}/G/{lod}/{strength}"] = kept(g.transpose(0, 2, 3, 1), resolution)
            found[f"{case}/D/{lod}/{strength}"] = d
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
    for case, row in recipe.CASES.items():
        found |= answers(module, case, row[3], recipe.kept)
    meta = {
        "made_by": "tools/make_stylegan_golden.py",
        "code": "NVlabs/stylegan training/networks_stylegan.py: G_style, D_basic",
        "tensorflow": tensorflow.__version__,
    }
    np.savez_compressed(
        given.out / "stylegan_networks.npz", meta_json=np.array(json.dumps(meta)), **found
    )


if __name__ == "__main__":
    main()
