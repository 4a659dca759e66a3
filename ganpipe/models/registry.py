"""Systems by name. A system's module is imported when it is asked for."""

import difflib
import importlib
import inspect
from typing import TYPE_CHECKING

from ganpipe.errors import UserError

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

_SYSTEMS = {
    "gan": ("ganpipe.models.gan", "GAN"),
    "cgan": ("ganpipe.models.cgan", "CGAN"),
    "dcgan": ("ganpipe.models.dcgan", "DCGAN"),
    "sngan": ("ganpipe.models.sngan", "SNGAN"),
    "egan": ("ganpipe.models.egan", "EGAN"),
    "multi_discriminator": ("ganpipe.models.multi_discriminator", "MultiDiscriminator"),
    "defense_gan": ("ganpipe.models.defense_gan", "DefenseGAN"),
    "fgan": ("ganpipe.models.fgan", "FGAN"),
    "lsgan": ("ganpipe.models.lsgan", "LSGAN"),
    "wgan": ("ganpipe.models.wgan", "WGAN"),
    "progan": ("ganpipe.models.progan", "ProGAN"),
    "stylegan": ("ganpipe.models.stylegan", "StyleGAN"),
    "stylegan2": ("ganpipe.models.stylegan2", "StyleGAN2"),
    "stylegan2_grown": ("ganpipe.models.stylegan2_grown", "StyleGAN2Grown"),
    "wgan_gp": ("ganpipe.models.wgan_gp", "WGANGP"),
}


def names() -> list[str]:
    """Names that `create` takes, sorted."""
    return sorted(_SYSTEMS)


def find(name: str) -> type["GANSystem"]:
    """The class of a system.

    Raises:
      UserError: unknown name.
    """
    if name not in _SYSTEMS:
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"system.name: no system {name!r}.{hint} Known: {', '.join(names())}.")
    module, class_name = _SYSTEMS[name]
    return getattr(importlib.import_module(module), class_name)


def create(name: str, *, resolution: int, channels: int = 3, **arguments: object) -> "GANSystem":
    """Builds a system; with no further arguments the reference body of its paper at that size.

    Args:
      name: "gan", "cgan" or "dcgan".
      resolution: height of the images in pixels, and their width but for a progan's own base.
      channels: 1 (grey) or 3 (RGB).
      **arguments: the system's own: `num_classes`, `latent_dim`, `seed`, `ema_decay`, `precision`
        and what its class documents.

    Raises:
      UserError: unknown name or argument, or a size that the system cannot have.
    """
    system = find(name)
    known = [p for p in inspect.signature(system.__init__).parameters if p != "self"]
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        close = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"system.{unknown[0]}: {name} has no such argument.{hint} It takes: {', '.join(known)}."
        )
    if not isinstance(arguments.get("seed", 0), int) or arguments.get("seed", 0) < 0:
        raise UserError(f"train.seed: {arguments['seed']!r}; expected a whole number from 0 on.")
    return system(resolution=resolution, channels=channels, **arguments)
