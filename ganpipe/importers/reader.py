"""Reads a pickle of networks into inert records: see `ganpipe.ops.pickle_machine`.

The names below are all that the published files of Progressive GAN, StyleGAN, StyleGAN2 and
StyleGAN2-ADA (TensorFlow and PyTorch) ask for. Source text that such a file carries
(`module_src`, `build_module_src`) is text to us: it is never compiled.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError
from ganpipe.importers import records
from ganpipe.importers.torch_stream import read_storage
from ganpipe.ops.pickle_machine import PickleMachine, RefusedError, kind_of

PROGAN_NETWORK = "tfutil.Network"
TF_NETWORKS = ("dnnlib.tflib.network.Network", PROGAN_NETWORK)
_NUMPY_CORES = ("numpy.core", "numpy._core")
_PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
_DICTS = ("dnnlib.util.EasyDict", "dnnlib.EasyDict", "collections.OrderedDict")
_SETS = ("builtins.set", "__builtin__.set")
_ALLOWED = (
    frozenset({"numpy.dtype", "numpy.ndarray", "_codecs.encode", _PERSISTENT})
    | frozenset(TF_NETWORKS + _DICTS + _SETS)
    | {f"{core}.multiarray.{name}" for core in _NUMPY_CORES for name in ("scalar", "_reconstruct")}
    | {f"{core}.numeric._frombuffer" for core in _NUMPY_CORES}
    | {f"torch._utils.{name}" for name in ("_rebuild_tensor_v2", "_rebuild_parameter")}
    | {"torch.storage._load_from_bytes"}
)


class NetworkMachine(PickleMachine):
    """Interprets the pickle of published networks; every value is a record or plain Python."""

    def __init__(self, file: Any):
        super().__init__(file, _ALLOWED, "a file of networks")
        self.streams: dict[int, tuple[bytes, records.Storage]] = {}

    def called(self, name: str, arguments: tuple) -> Any:
        """REDUCE: the few functions that such files call."""
        short = name.rpartition(".")[2]
        if name == _PERSISTENT and len(arguments) == 1:
            return _module(arguments[0])
        if short == "_load_from_bytes" and len(arguments) == 1:
            return self._storage(arguments[0])
        if short == "_rebuild_tensor_v2" and len(arguments) <= 8:  # more would be copied each time
            return records.make_tensor(*arguments)
        if short == "_rebuild_parameter" and arguments:
            if not isinstance(arguments[0], records.Tensor):
                raise RefusedError("its pickle describes a parameter wrongly")
            return arguments[0]
        if short == "scalar" and len(arguments) == 2:
            return records.make_scalar(*arguments)
        if short == "_reconstruct":
            return records.Array()
        if short == "_frombuffer" and len(arguments) == 4:
            self._pay_copy(*arguments[:2])
            return records.Array(records.make_array(*arguments))
        if name == "numpy.dtype" and arguments:
            return records.make_dtype(arguments[0])
        if name == "_codecs.encode" and len(arguments) == 2:
            return self._bytes(*arguments)
        if name in _SETS and len(arguments) <= 1:
            return self._set(*arguments)
        if name in _DICTS and len(arguments) <= 1:
            return self.mapping(*(arguments or ((),)))
        return super().called(name, arguments)

    def made(self, name: str, arguments: tuple) -> Any:
        """NEWOBJ: dicts with attributes, and TensorFlow networks."""
        if name in _DICTS and not arguments:
            return {}
        if name in TF_NETWORKS and not arguments:
            return records.Network(name)
        return super().made(name, arguments)

    def filled_in(self, target: Any, state: Any) -> None:
        """BUILD: states of arrays, types and networks."""
        if isinstance(target, records.Array):
            if isinstance(state, tuple) and len(state) > 2:
                self._pay_copy(state[-1], state[-3])
            records.array_state(target, state)
        elif isinstance(target, records.DType):
            records.set_byte_order(target, state)
        elif isinstance(target, records.Network) and isinstance(state, dict) and not target.state:
            target.state = state
        elif isinstance(target, dict) and not state:
            pass  # a dict of ours has no attributes
        else:
            super().filled_in(target, state)

    def _storage(self, raw: Any) -> records.Storage:
        # Tensors that share a storage hold the same bytes object: parsed once, shared again.
        known = self.streams.get(id(raw))
        if known is None:
            known = self.streams[id(raw)] = (raw, read_storage(raw))
        return known[1]

    def _bytes(self, text: Any, encoding: Any) -> bytes:
        # How Python writes bytes in a pickle of protocol 2.
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise RefusedError("its pickle encodes something other than bytes")
        self.pay(len(text), "decodes more bytes")
        return text.encode("latin-1")

    def _pay_copy(self, raw: Any, dtype: Any) -> None:
        # Bytes in native order are shared; all else is copied, however often it is remembered.
        native = not isinstance(dtype, records.DType) or dtype.dtype.isnative
        if isinstance(raw, str) or (isinstance(raw, bytes | bytearray) and not native):
            self.pay(len(raw), "copies more bytes into arrays")

    def _set(self, items: Any = ()) -> set:
        if not isinstance(items, list | tuple):
            raise RefusedError("its pickle fills a set wrongly")
        self.pay(len(items), "fills sets with more items")
        return set(map(self.key, items))


def _module(meta: Any) -> records.Module:
    if not isinstance(meta, dict):
        raise RefusedError("its pickle describes a module wrongly")
    name, state = meta.get("class_name"), meta.get("state")
    if meta.get("type") != "class" or not isinstance(name, str) or not isinstance(state, dict):
        raise RefusedError("its pickle describes a module wrongly")
    if meta.get("version") != 6:
        raise RefusedError(
            f"module {name[:80]!r} is not of version 6, which every public release of "
            "StyleGAN2-ADA (PyTorch) writes"
        )
    return records.Module(name, state)


def read_pickle(path: str | os.PathLike) -> Any:
    """The contents of a pickle of networks, with records for everything that is no plain value.

    Args:
      path: the file; nothing in it is executed.

    Raises:
      UserError: no such file, no pickle, truncated, or one that asks for more than networks need
        (the message names it).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            head = file.read(4)
            if head[:2] == b"PK":
                raise RefusedError(
                    "it is a zip (a torch.save of today, or an .npz), expected the pickle that "
                    "the official training scripts write"
                )
            if head[:1] != b"\x80":
                raise RefusedError("it is no pickle of protocol 2 or later")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return NetworkMachine(view).run()
    except RefusedError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, IndexError, TypeError, KeyError, EOFError, OSError) as error:
        raise _broken(path, error) from error
    except (struct.error, RuntimeError, OverflowError, AttributeError) as error:
        raise _broken(path, error) from error
    except MemoryError as error:
        raise UserError(f"{path}: this machine has not the memory that its weights take") from error


def _broken(path: Path, error: Exception) -> UserError:
    text = f"{type(error).__name__}: {str(error)[:200]}"
    return UserError(f"{path} is not a complete pickle ({text}); fetch it again")


def contents_kind(value: Any) -> str:
    """What a record is, for messages."""
    if isinstance(value, records.Module):
        return f"a PyTorch module {value.class_name[:80]!r}"
    if isinstance(value, records.Network):
        return f"a TensorFlow network ({value.made_by})"
    if isinstance(value, records.Tensor | records.Array):
        return "a tensor"
    return kind_of(value)
