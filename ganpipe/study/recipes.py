"""How each system is trained on the mixtures: plain data, one entry a row of the table.

All have the same networks unless their paper's body says otherwise: three hidden ReLU layers of
128 units on both sides, z of 2 numbers. Learning rates fall linearly to 0 over `steps`:
with a constant rate the generator keeps circling modes whose deviation is a hundredth of the
plane's width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WIDTH, LATENTS = 128, 2


@dataclass(frozen=True)
class Recipe:
    """One row of the table.

    Attributes:
      label: for tables.
      system: name for `ganpipe.create`.
      arguments: of the system, beside resolution 1, channels 2, body "points".
      compile: of its `compile`, beside optimisers and seed.
      steps: train steps on the grid; the ring takes `RING_SHARE` of them.
      batch: real points of one update of D.
      n_critic: updates of D a step.
      rate: of both Adams at the start; None leaves the optimisers to the system's `compile`.
      betas: of both Adams.
    """

    label: str
    system: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    compile: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 20_000
    batch: int = 256
    n_critic: int = 1
    rate: float | None = 1e-3
    betas: tuple[float, float] = (0.5, 0.9)


RING_SHARE = 0.4


def _plain(label: str, loss: str, **more: Any) -> Recipe:
    """The baseline's networks, `dcgan` with body "points", under another loss."""
    return Recipe(
        label,
        "dcgan",
        {"nf": WIDTH, "latent_dim": LATENTS, "norm": "none", **more.pop("arguments", {})},
        {"loss": loss, **more.pop("compile", {})},
        **more,
    )


RECIPES = {
    "minimax": _plain("minimax (saturating), MLP", "minimax"),
    "non_saturating": _plain("non-saturating, MLP", "non_saturating"),
    "least_squares": _plain("least squares, MLP", "least_squares"),
    "hinge": _plain("hinge, MLP", "hinge"),
    "rasgan": _plain("relativistic average, MLP", "rasgan"),
    "fgan_js": _plain("f-GAN JS (alternative), MLP", "fgan_js_alt"),
    "fgan_pearson": _plain("f-GAN Pearson (alternative), MLP", "fgan_pearson_alt"),
    "r1": _plain("non-saturating + R1", "non_saturating", compile={"penalties": {"r1": 0.02}}),
    "wgan": Recipe(
        "wgan (clipping, RMSprop)",
        "wgan",
        {"nf": WIDTH, "latent_dim": LATENTS, "g_norm": "none", "d_norm": "none"},
        {
            "penalties": {"clip": 0.1},
            "g_learning_rate": 5e-4,
            "d_learning_rate": 5e-4,
            "warmup_critic": 5,
        },
        steps=10_000,
        n_critic=5,
        rate=None,
    ),
    "wgan_gp": Recipe(
        "wgan_gp",
        "wgan_gp",
        {"dim": WIDTH, "latent_dim": LATENTS},
        {"penalties": {"gp": 0.1}},
        steps=16_000,
        n_critic=2,
        betas=(0.0, 0.9),
    ),
    "sngan": Recipe(
        "sngan (hinge)",
        "sngan",
        {"nf": WIDTH, "latent_dim": LATENTS, "g_batch_factor": 1},
        steps=18_000,
        n_critic=2,
        betas=(0.0, 0.9),
    ),
    # The paper's three mutations and fitness; D is sngan's, which the paper's toys have not.
    "egan": Recipe(
        "egan (hinge, spectral norm)",
        "egan",
        {"width": WIDTH, "latent_dim": LATENTS, "norm": "spectral"},
        {"loss": "hinge", "gamma": 2.0},  # the toys' beta of 1 is of the squared norm
        steps=10_000,
        betas=(0.0, 0.9),
    ),
}
