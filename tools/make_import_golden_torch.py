"""Makes tests/golden/stylegan2_ada_*.pkl and .npz with the official StyleGAN2-ADA (PyTorch).

Needs PyTorch and a checkout of https://github.com/NVlabs/stylegan2-ada-pytorch (licence:
non-commercial; it stays outside this repository):

    .venv-bench/bin/python tools/make_import_golden_torch.py CHECKOUT

The networks are narrow and all their weights random. The pickles are what the official training
loop writes, but for the official source text that every module carries: that is put as an empty
string, so no line of the official code enters this repository (and nothing could be executed).
"""

import copy
import io
import json
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))

import import_recipe as recipe  # noqa: E402

sys.modules.setdefault("requests", types.ModuleType("requests"))  # imported, not used, by dnnlib
NARROW = {"channel_base": 256, "channel_max": 12}  # 8 wide at 32 px: sides differ
CASES = {
    # As the presets `auto` and `cifar` build them, in narrow.
    "unconditional": {
        "c_dim": 0,
        "G": {"mapping_kwargs": {"num_layers": 8}},
        "D": {"epilogue_kwargs": {"mbstd_group_size": 4}},
    },
    "conditional": {
        "c_dim": 3,
        "G": {"mapping_kwargs": {"num_layers": 2}},
        "D": {"architecture": "orig", "epilogue_kwargs": {"mbstd_group_size": 2}},
    },
}


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Moves every weight and buffer but the filters away from where it starts."""
    generator = torch.Generator().manual_seed(seed)

    def noise(value: torch.Tensor, scale: float) -> torch.Tensor:
        return value + scale * torch.randn(value.shape, generator=generator)

    tables = (module.named_parameters(), module.named_buffers())
    for name, value in [pair for table in tables for pair in table]:
        if name.endswith("resample_filter"):
            continue
        # Biases of layers with a learning-rate multiplier of .01 count a hundredth.
        scale = 30.0 if ".fc" in name and name.endswith("bias") and "mapping" in name else 0.3
        value.data.copy_(noise(value.data, scale))


def build(case: dict, **common: object) -> dict:
    """The official networks of a case, randomised: {"G", "D", "G_ema", "augment_pipe"}."""
    import dnnlib
    from training import augment, networks

    common = {"c_dim": case["c_dim"], "img_resolution": 32, "img_channels": 3} | common
    g_kwargs = {"z_dim": 16, "w_dim": 20} | copy.deepcopy(case["G"]) | common
    wide = NARROW | {"num_fp16_res": 4, "conv_clamp": 256}
    g_kwargs["synthesis_kwargs"] = wide | g_kwargs.get("synthesis_kwargs", {})
    d_kwargs = wide | {"block_kwargs": {}, "mapping_kwargs": {}} | copy.deepcopy(case["D"]) | common

    def easy(values):  # the official training script makes its arguments of these
        return dnnlib.EasyDict({k: easy(v) if type(v) is dict else v for k, v in values.items()})

    made = {
        "G": networks.Generator(**easy(g_kwargs)),
        "D": networks.Discriminator(**easy(d_kwargs)),
        "G_ema": networks.Generator(**easy(g_kwargs)),
    }
    for seed, module in enumerate(made.values()):
        randomise(module, seed)
    made["augment_pipe"] = augment.AugmentPipe(xflip=1)
    return {key: copy.deepcopy(m).eval().requires_grad_(False) for key, m in made.items()}


def snapshot(networks: dict) -> dict:
    """What the official training loop pickles."""
    import dnnlib

    data_set = dnnlib.EasyDict(class_name="training.dataset.ImageFolderDataset", path="x.zip")
    return {"training_set_kwargs": data_set, **networks}


def without_source(contents: dict) -> bytes:
    """The pickle with an empty string for the source text of every module."""
    from torch_utils import persistence

    classes = list(persistence._decorators)
    sources = [c._orig_module_src for c in classes]
    try:
        for c in classes:
            c._orig_module_src = ""
        stream = io.BytesIO()
        pickle.dump(contents, stream)
    finally:
        for c, source in zip(classes, sources, strict=True):
            c._orig_module_src = source
    return stream.getvalue()


def answers(networks: dict, c_dim: int, batch: int = 4) -> dict[str, np.ndarray]:
    """Official outputs in float32 on the CPU for `import_recipe.inputs`, NHWC."""
    g, d = networks["G_ema"], networks["D"]
    given = recipe.inputs(g.z_dim, c_dim, d.img_resolution, d.img_channels, batch)
    one_hot = np.eye(c_dim, dtype=np.float32)[given["labels"]] if c_dim else np.zeros((batch, 0))
    z, c = torch.from_numpy(given["z"]), torch.from_numpy(one_hot)
    images = torch.from_numpy(np.ascontiguousarray(given["images"].transpose(0, 3, 1, 2)))
    result = {}
    for name, key, psi in (("raw", "G", 1), ("psi_1", "G_ema", 1), ("psi_0.7", "G_ema", 0.7)):
        x = networks[key](z, c, truncation_psi=psi, noise_mode="const", force_fp32=True)
        result[name] = x.numpy().transpose(0, 2, 3, 1)
    result["logits"] = d(images, torch.cat([c, c]), force_fp32=True).numpy()[:, 0]
    return result


def main(checkout: str) -> None:
    """Writes a pickle and an .npz of answers for each case."""
    sys.path.insert(0, checkout)
    for name, case in CASES.items():
        networks = build(case)
        (GOLDEN / f"stylegan2_ada_{name}.pkl").write_bytes(without_source(snapshot(networks)))
        meta = {"case": case, "torch": torch.__version__, "numpy": np.__version__}
        meta["commit"] = "NVlabs/stylegan2-ada-pytorch d72cc7d"
        np.savez_compressed(
            GOLDEN / f"stylegan2_ada_{name}.npz",
            meta_json=np.array(json.dumps(meta)),
            **answers(networks, case["c_dim"]),
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
