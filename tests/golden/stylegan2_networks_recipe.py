"""Writes stylegan2_networks.npz: outputs of the official StyleGAN2-ADA networks (PyTorch).

The official code is not part of this repository (its licence is non-commercial): bring a checkout
of NVlabs/stylegan2-ada-pytorch (d72cc7d). Narrow networks get random weights, biases, noise
strengths and averages of w by its own constructors; every weight is stored under its official name
beside inputs and outputs, as `CASE/kind/name`.

    git clone https://github.com/NVlabs/stylegan2-ada-pytorch CHECKOUT
    python tests/golden/stylegan2_networks_recipe.py --official=CHECKOUT

It needs PyTorch and runs on the CPU (measured with torch 2.13).
"""

import argparse
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch

G_CASES = {
    "g_skip": {"architecture": "skip"},
    "g_skip_labels": {"architecture": "skip", "num_classes": 3},
    "g_resnet": {"architecture": "resnet"},
    "g_orig_labels": {"architecture": "orig", "num_classes": 3},
}
D_CASES = {
    "d_resnet": {"architecture": "resnet"},
    "d_resnet_labels": {"architecture": "resnet", "num_classes": 3},
    "d_skip": {"architecture": "skip"},
    "d_orig_labels": {"architecture": "orig", "num_classes": 3},
}
SIZES = {"resolution": 16, "channel_base": 128, "channel_max": 12}
LATENTS = {"latent_dim": 10, "w_dim": 14, "mapping_layers": 3}


def shake(network, seed):
    """Adds to everything that starts at a constant; `w_avg` included."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith(("bias", "noise_strength", "w_avg")):
            scale = 20.0 if ".fc" in name and "mapping" in name else 0.3
            value.data += scale * torch.randn(value.shape, generator=generator)


def one_hot(labels, count):
    return torch.nn.functional.one_hot(torch.tensor(labels), count).float()


def arrays(network):
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    return {k: v.detach().numpy() for k, v in tensors.items() if "resample_filter" not in k}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of stylegan2-ada-pytorch")
    parser.add_argument("--out", default=str(Path(__file__).with_name("stylegan2_networks.npz")))
    args = parser.parse_args()
    sys.path.insert(0, args.official)
    sys.modules.setdefault("requests", types.ModuleType("requests"))  # it downloads nothing here
    from training import networks

    found, cases = {}, {}
    rng = np.random.default_rng(0)
    labels = [0, 2, 1, 2, 0, 1, 1, 0]
    width = {k: SIZES[k] for k in ("channel_base", "channel_max")}
    z = rng.normal(size=(8, LATENTS["latent_dim"])).astype(np.float32)
    shape = (8, 3, SIZES["resolution"], SIZES["resolution"])
    images = rng.uniform(-1, 1, shape).astype(np.float32)
    for seed, (case, options) in enumerate(G_CASES.items()):
        torch.manual_seed(seed)
        classes = options.get("num_classes", 0)
        network = networks.Generator(
            LATENTS["latent_dim"],
            classes,
            LATENTS["w_dim"],
            SIZES["resolution"],
            3,
            mapping_kwargs={"num_layers": LATENTS["mapping_layers"]},
            synthesis_kwargs=width | {"architecture": options["architecture"]},
        ).eval()
        shake(network, seed)
        found |= {f"{case}/weights/{k}": v for k, v in arrays(network).items()}
        c = one_hot(labels, classes) if classes else None
        with torch.no_grad():
            for psi, cutoff in ((1.0, None), (0.7, None), (0.5, 2)):
                made = network(
                    torch.tensor(z[:4]),
                    None if c is None else c[:4],
                    truncation_psi=psi,
                    truncation_cutoff=cutoff,
                    noise_mode="const",
                )
                found[f"{case}/images/{psi}"] = made.numpy()
            none = network(torch.tensor(z[:4]), None if c is None else c[:4], noise_mode="none")
            found[f"{case}/images/none"] = none.numpy()
        cases[case] = options
    for seed, (case, options) in enumerate(D_CASES.items()):
        torch.manual_seed(100 + seed)
        classes = options.get("num_classes", 0)
        network = networks.Discriminator(
            classes,
            SIZES["resolution"],
            3,
            architecture=options["architecture"],
            epilogue_kwargs={"mbstd_group_size": 4},
            **width,
        ).eval()
        shake(network, 100 + seed)
        found |= {f"{case}/weights/{k}": v for k, v in arrays(network).items()}
        with torch.no_grad():
            c = one_hot(labels, classes) if classes else None
            found[f"{case}/logits"] = network(torch.tensor(images), c).numpy()
        cases[case] = options
    found |= {"z": z, "images": images, "labels": np.array(labels)}
    meta = {"cases": cases, "sizes": SIZES, "latents": LATENTS, "torch": torch.__version__}
    np.savez_compressed(args.out, meta=json.dumps(meta), **found)
    print(args.out, Path(args.out).stat().st_size)


if __name__ == "__main__":
    main()
