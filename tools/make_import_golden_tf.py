"""Makes tests/golden/{progan,stylegan,stylegan2}_tf*.pkl and .npz with the official TF1 code.

Runs the official graph code under TensorFlow 2's compat.v1, from checkouts outside this repository
(their licences are non-commercial):

    .venv/bin/python tools/make_import_golden_tf.py progan    PATH/progressive_growing_of_gans
    .venv/bin/python tools/make_import_golden_tf.py stylegan  PATH/stylegan
    .venv/bin/python tools/make_import_golden_tf.py stylegan2 PATH/stylegan2
    .venv/bin/python tools/make_import_golden_tf.py stylegan2_ada PATH/stylegan2-ada

The networks are narrow and all their weights random. The pickles are what the official code writes
for (G, D, Gs), but for the official source text that each network carries: that is put as an empty
string, so no line of the official code enters this repository.
"""

import json
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))
import import_recipe as recipe  # noqa: E402

tf = tensorflow.compat.v1
NARROW = {"resolution": 32, "num_channels": 3, "fmap_base": 128, "fmap_max": 12}
STYLE = NARROW | {"latent_size": 16, "dlatent_size": 20, "mapping_fmaps": 20}
CASES = {
    # family: name -> (G, D): build functions with arguments, as the official configs give them
    "progan": {
        "progan_tf": (
            {"func": "networks.G_paper", **NARROW, "label_size": 3, "latent_size": 16},
            {"func": "networks.D_paper", **NARROW, "label_size": 3},
        ),
        # As the published files, which were converted from Theano: D activates before it pools.
        "progan_tf_unfused": (
            {
                "func": "networks.G_paper",
                **NARROW,
                "label_size": 3,
                "latent_size": 16,
                "fused_scale": False,
            },
            {"func": "networks.D_paper", **NARROW, "label_size": 3, "fused_scale": False},
        ),
    },
    "stylegan": {
        "stylegan_tf": (
            {
                "func_name": "training.networks_stylegan.G_style",
                **STYLE,
                "label_size": 0,
                # Kernels of fused layers are turned; the official code fuses from 128 px on.
                "fused_scale": True,
            },
            {"func_name": "training.networks_stylegan.D_basic", **NARROW, "label_size": 0},
        )
    },
    "stylegan2": {
        "stylegan2_tf": (
            {"func_name": "training.networks_stylegan2.G_main", **STYLE, "label_size": 0},
            {"func_name": "training.networks_stylegan2.D_stylegan2", **NARROW, "label_size": 0},
        )
    },
    "stylegan2_ada": {
        "stylegan2_tf_ada": (
            {"func_name": "training.networks.G_main", **STYLE, "label_size": 3, "label_fmaps": 20},
            {
                "func_name": "training.networks.D_main",
                **NARROW,
                "label_size": 3,
                "mbstd_group_size": 4,
            },
        )
    },
}


def _channels_last(function, transposed: bool):
    """A TF function for NCHW on a CPU, whose kernels take NHWC only."""

    def nhwc(values):
        return [values[0], values[2], values[3], values[1]] if values is not None else None

    def call(x, *args, data_format="NHWC", **kwargs):
        if data_format == "NHWC":
            return function(x, *args, **kwargs)
        for key in ("strides", "ksize"):
            if key in kwargs:
                kwargs[key] = nhwc(kwargs[key])
        if transposed:
            args, kwargs = args[:1], kwargs | {"output_shape": nhwc(_shape(args, kwargs))}
        x = function(tf.transpose(x, [0, 2, 3, 1]), *args, **kwargs)
        return tf.transpose(x, [0, 3, 1, 2])

    return call


def _shape(args, kwargs) -> list:
    return args[1] if len(args) > 1 else kwargs["output_shape"]


def pretend_tf1() -> None:
    """Lets `import tensorflow` of the official code find compat.v1."""
    tf.disable_v2_behavior()
    for name in ("conv2d", "conv2d_transpose", "depthwise_conv2d", "avg_pool"):
        setattr(tf.nn, name, _channels_last(getattr(tf.nn, name), name.endswith("transpose")))
    tf.contrib = types.ModuleType("tensorflow.contrib")
    sys.modules["tensorflow"] = tf
    sys.modules["tensorflow.contrib"] = tf.contrib
    for name in ("requests", "imp"):
        sys.modules.setdefault(name, types.ModuleType(name))
    tf.InteractiveSession()


def reference_ops() -> None:
    """StyleGAN2's operators without CUDA."""
    from dnnlib.tflib.ops import fused_bias_act, upfirdn_2d

    for module in (fused_bias_act, upfirdn_2d):
        for function in vars(module).values():
            if isinstance(function, types.FunctionType) and function.__defaults__:
                values = ["ref" if v == "cuda" else v for v in function.__defaults__]
                function.__defaults__ = tuple(values)


def randomise(network, seed: int) -> None:
    """Moves every variable away from where it starts."""
    rng = np.random.default_rng(seed)
    parts = [network, *getattr(network, "components", {}).values()]
    for part in parts:
        for name, variable in getattr(part, "own_vars", part.vars).items():
            if name.endswith("lod"):
                continue
            # Biases of layers with a learning-rate multiplier of .01 count a hundredth.
            mapping = name.startswith("Dense") and name.endswith("bias") and part is not network
            noise = rng.standard_normal(variable.shape.as_list()) * (30.0 if mapping else 0.3)
            part.set_var(name, part.get_var(name) + noise.astype(np.float32))


def clear_source(network) -> None:
    """Takes the official source text out of a network and its components."""
    network._build_module_src = ""
    for part in getattr(network, "components", {}).values():
        clear_source(part)


def nhwc(images: np.ndarray) -> np.ndarray:
    """NCHW -> NHWC."""
    return images.transpose(0, 2, 3, 1)


def answers(family: str, g, d, gs, arguments: dict) -> dict[str, np.ndarray]:
    """Official outputs for `import_recipe.inputs`, NHWC."""
    labels = arguments["label_size"]
    given = recipe.inputs(arguments.get("latent_size", 16), labels, 32)
    one_hot = np.eye(labels, dtype=np.float32)[given["labels"]] if labels else np.zeros((4, 0))
    images = given["images"].transpose(0, 3, 1, 2)
    feed_z, feed_c = tf.constant(given["z"]), tf.constant(one_hot, tf.float32)
    both = tf.concat([feed_c, feed_c], axis=0)

    def run(network, *inputs, **kwargs):
        return network.get_output_for(*inputs, **kwargs)

    style = {} if family == "progan" else {"randomize_noise": False}
    psi = {"psi_1": 1.0, "psi_0.7": 0.7} if style else {"psi_1": None}
    result = {}
    for name, value in psi.items():
        truncated = {} if value is None else {"truncation_psi": value}
        result[name] = nhwc(run(gs, feed_z, feed_c, **style, **truncated).eval())
    result["raw"] = nhwc(
        run(g, feed_z, feed_c, **style, **({"truncation_psi": 1.0} if style else {})).eval()
    )
    feed_x = tf.constant(images)
    if family == "progan":
        score, classes = run(d, feed_x)
        result |= {"logits": score.eval()[:, 0], "classes": classes.eval()}
    else:
        result["logits"] = run(d, feed_x, both).eval()[:, 0]
    return result


def main(family: str, checkout: str) -> None:
    """Writes a pickle and an .npz of answers for each case of a family."""
    pretend_tf1()
    sys.path.insert(0, checkout)
    if family == "progan":
        import tfutil

        make = tfutil.Network
    else:
        import dnnlib.tflib as tflib

        make = tflib.Network
        if family != "stylegan":
            reference_ops()
    for name, (g_arguments, d_arguments) in CASES[family].items():
        g, d = make("G", **g_arguments), make("D", **d_arguments)
        gs = g.clone("Gs")
        for seed, network in enumerate((g, d, gs)):
            randomise(network, seed)
        np.savez_compressed(
            GOLDEN / f"{name}.npz",
            meta_json=np.array(json.dumps({"G": g_arguments, "D": d_arguments})),
            **answers(family, g, d, gs, g_arguments),
        )
        for network in (g, d, gs):
            clear_source(network)
        with (GOLDEN / f"{name}.pkl").open("wb") as file:
            pickle.dump((g, d, gs), file, protocol=4)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in CASES:
        sys.exit(__doc__)
    main(*sys.argv[1:])
