"""Real images on disk, and how training reads them.

`load` and `info` are all that most code needs; both import TensorFlow only when they must, so that
`import ganpipe.data` stays cheap. The folder they read is written by `python -m pipeline.prepare`;
`docs/data.md` describes it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganpipe.data.fade import fade
    from ganpipe.data.manifest import DatasetInfo, info, verify
    from ganpipe.data.reader import load, load_domains
    from ganpipe.data.sheet import sample_sheet

_HOME = {
    "DatasetInfo": "manifest",
    "info": "manifest",
    "verify": "manifest",
    "fade": "fade",
    "load": "reader",
    "load_domains": "reader",
    "sample_sheet": "sheet",
}

__all__ = ["DatasetInfo", "fade", "info", "load", "load_domains", "sample_sheet", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
