"""Makes tests/golden/stylegan2_training.npz: gradients of the official StyleGAN2-ADA's four phases.

Needs PyTorch and a checkout of https://github.com/NVlabs/stylegan2-ada-pytorch (licence:
non-commercial; it stays outside this repository):

    .venv-bench/bin/python tools/make_stylegan2_training_golden.py CHECKOUT

The networks are those of tests/golden/stylegan2_ada_*.pkl; the losses are the official ones, in
float32, with constant noise and without augmentation and mixing. Of each parameter's gradient the
norm and the product with a random direction are kept (`training_recipe.summary`).
"""

import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(GOLDEN))
sys.path.insert(0, str(GOLDEN.parents[1]))

import make_import_golden_torch as networks_of  # noqa: E402
import training_recipe as recipe  # noqa: E402

from ganpipe.importers import contents  # noqa: E402


class Called(torch.nn.Module):
    """A network with further arguments, as a module: the official loss wants one."""

    def __init__(self, network: torch.nn.Module, **arguments: object):
        super().__init__()
        self.network, self.arguments = network, arguments

    def forward(self, *inputs: torch.Tensor, **more: object) -> torch.Tensor:
        """The network's answer."""
        return self.network(*inputs, **more, **self.arguments)


def gradients(name: str, case: dict) -> dict[str, np.ndarray]:
    """phase/parameter -> summary of its gradient."""
    from training import loss as official

    made = networks_of.build(case)
    file = contents.read(GOLDEN / f"stylegan2_ada_{name}.pkl")
    for key, role in (("G", "generator"), ("D", "discriminator")):
        values = file.networks[role].values
        made[key].load_state_dict({k: torch.tensor(np.asarray(v)) for k, v in values.items()})
    g, d = (made[key].train().requires_grad_(True) for key in ("G", "D"))
    given = recipe.inputs(g.z_dim, case["c_dim"], d.img_resolution, d.img_channels)
    one_hot = np.zeros((recipe.BATCH, case["c_dim"]), np.float32)
    if case["c_dim"]:
        one_hot = np.eye(case["c_dim"], dtype=np.float32)[given["labels"]]
    z, c = torch.from_numpy(given["z"]), torch.from_numpy(one_hot)
    images, direction = (
        torch.from_numpy(np.ascontiguousarray(given[key].transpose(0, 3, 1, 2)))
        for key in ("images", "direction")
    )
    loss = official.StyleGAN2Loss(
        device=torch.device("cpu"),
        G_mapping=g.mapping,
        G_synthesis=Called(g.synthesis, noise_mode="const", force_fp32=True),
        D=Called(d, force_fp32=True),
        style_mixing_prob=0,
        **recipe.SETTINGS,
    )
    result = {}
    for phase, network in (("Gmain", g), ("Greg", g), ("Dmain", d), ("Dreg", d)):
        for module in (g, d):
            module.zero_grad(set_to_none=True)
            module.requires_grad_(module is network)
        with mock.patch.object(torch, "randn_like", lambda x: direction[: len(x)]):
            loss.accumulate_gradients(phase, images, c, z, c, sync=True, gain=1)
        for name, parameter in network.named_parameters():
            found = parameter.grad
            found = np.zeros(parameter.shape) if found is None else found.numpy()
            result[f"{phase}/{name}"] = recipe.summary(name, found)
    return result


def main(checkout: str) -> None:
    """Writes the file."""
    sys.path.insert(0, checkout)
    meta = {"commit": "NVlabs/stylegan2-ada-pytorch d72cc7d", "torch": torch.__version__}
    values = {"meta_json": np.array(json.dumps(meta))}
    for name, case in networks_of.CASES.items():
        values |= {f"{name}/{key}": value for key, value in gradients(name, case).items()}
    np.savez_compressed(GOLDEN / "stylegan2_training.npz", **values)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
