"""Reads the tensors of a PyTorch `.pth` or `.pt` file; needs no PyTorch and runs no pickle.

A pickle is a program: loading one with `pickle` calls whatever function it names. Here its opcodes
are interpreted by a small machine (`torch_pickle`) that knows containers, numbers, text and the few
names that a state dict needs. Any other name, and an opcode that could reach one, is an error;
nothing is imported or called.

Both containers of `torch.save` are read:

* up to PyTorch 1.5: five pickles (magic number, protocol, system, object, storage keys), then for
  every key an int64 count and the raw values;
* since 1.6: a zip with `<root>/data.pkl`, `<root>/data/<key>` and sometimes `<root>/byteorder`.
"""

import hashlib
import io
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics.extractors.torch_pickle import (
    Machine,
    RefusedError,
    Storage,
    Tensor,
    kind_of,
)

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Views may repeat elements (stride 0) or share a storage, so all tensors together may be larger
# than the file; beyond this many bytes more it asks for memory that it does not hold.
_LARGEST_EXPANSION = 2**27


def read_state_dict(path: str | os.PathLike, sha256: str | None = None) -> dict[str, np.ndarray]:
    """All tensors of a saved state dict, by name, in the file's order.

    Args:
      path: file that `torch.save(module.state_dict(), path)` wrote, in either container.
      sha256: the file's SHA-256 in hex or the start of it (published names end in eight digits);
        checked before anything else is read. None checks nothing.

    Returns:
      name -> array of its own memory, native byte order. float16, float32, float64 and integers
      keep their type; bfloat16 becomes float32.

    Raises:
      UserError: no such file, another hash, not a torch file, truncated, a pickle that names
        anything outside `torch_pickle.ALLOWED`, contents other than named tensors, or tensors of
        together over 128 MiB more than the file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if sha256 is not None:
        check_sha256(path, sha256)
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            limit = os.fstat(file.fileno()).st_size + _LARGEST_EXPANSION
            if head == b"PK\x03\x04":
                return _tensors(*_open_zip(file), limit)
            if head[:1] != b"\x80":
                raise RefusedError("not a torch file: neither a zip nor a pickle of protocol 2")
            # A map reads no more than there is, however long a text claims to be.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return _tensors(*_open_stream(view), limit)
    except RefusedError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, IndexError, TypeError, KeyError, EOFError, OSError) as error:
        raise _broken(path, error) from error
    except (zipfile.BadZipFile, struct.error, RuntimeError, OverflowError) as error:
        raise _broken(path, error) from error
    except MemoryError as error:
        raise UserError(
            f"{path}: this machine has not the memory that its tensors take; free some, or fetch "
            "the file again if it should be small"
        ) from error


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: str | os.PathLike, expected: str) -> str:
    """The file's SHA-256 (hex); UserError unless it starts with `expected`."""
    found = file_sha256(path)
    if not expected or not found.startswith(expected.lower()):
        raise UserError(
            f"{path}: its SHA-256 is {found}, expected {expected}...: the file is damaged or is "
            "another one; fetch it again"
        )
    return found


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is not a complete file of torch.save ({type(error).__name__}: {error}); fetch it "
        "again"
    )


# --- containers ---------------------------------------------------------------------------------


def _open_stream(file: mmap.mmap) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """(object, reader of storages) of the container up to PyTorch 1.5."""
    if Machine(file).run() != _MAGIC:
        raise RefusedError("not a torch file: a pickle without the magic number of torch.save")
    if Machine(file).run() != _PROTOCOL:
        raise RefusedError(f"not the stream protocol {_PROTOCOL} of torch.save")
    system = Machine(file).run()
    if not isinstance(system, dict):
        raise RefusedError("its system record is malformed")
    order = "<" if system.get("little_endian", True) else ">"
    machine = Machine(file)
    contents = machine.run()
    keys = Machine(file).run()
    if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
        raise RefusedError("the list of storage keys is malformed")
    if len(set(keys)) != len(keys):
        raise RefusedError("the list of storage keys is malformed")
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        storage = machine.storages.get(key)
        if storage is None:
            raise RefusedError(f"it holds storage {key!r}, which no tensor uses")
        (count,) = struct.unpack(f"{order}q", file.read(8))
        size = count * _itemsize(storage.dtype)
        if count != storage.count:
            raise RefusedError(
                f"storage {key!r} holds {count} values, its tensor says {storage.count}"
            )
        if file.tell() + size > len(file):
            raise RefusedError(f"truncated: storage {key!r} ends after the end of the file")
        places[key] = (file.tell(), size)
        file.seek(size, os.SEEK_CUR)

    def read(storage: Storage) -> np.ndarray:
        place, size = places[storage.key]
        file.seek(place)
        return _values(file.read(size), storage, order)

    return contents, read


def _open_zip(file: BinaryIO) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """(object, reader of storages) of the container since PyTorch 1.6."""
    archive = zipfile.ZipFile(file)
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        # torch.save never does; an entry that unfolds could take any amount of memory.
        raise RefusedError("a zip with compressed entries: not written by torch.save")
    pickles = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        found = "constants.pkl" in {name.rpartition("/")[2] for name in archive.namelist()}
        kind = "a TorchScript archive" if found else "a zip"
        raise RefusedError(f"{kind} without one <name>/data.pkl: not a state dict of torch.save")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in archive.namelist():
        raise RefusedError("a TorchScript archive (it holds code): expected a state dict")
    order = "<"
    if f"{root}byteorder" in archive.namelist():
        order = ">" if archive.read(f"{root}byteorder").strip() == b"big" else "<"
    contents = Machine(io.BytesIO(archive.read(pickles[0]))).run()

    def read(storage: Storage) -> np.ndarray:
        name = f"{root}data/{storage.key}"
        size = storage.count * _itemsize(storage.dtype)
        if archive.getinfo(name).file_size != size:
            raise RefusedError(f"{name} does not hold {storage.count} values")
        return _values(archive.read(name), storage, order)

    return contents, read


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _values(raw: bytes, storage: Storage, order: str) -> np.ndarray:
    """Raw bytes -> (count,) array in native byte order."""
    if len(raw) != storage.count * _itemsize(storage.dtype):
        raise RefusedError(f"truncated: storage {storage.key!r} is incomplete")
    if storage.dtype == "bfloat16":
        # The upper half of a float32.
        bits = np.frombuffer(raw, f"{order}u2").astype(np.uint32) << 16
        return bits.view(np.float32)
    values = np.frombuffer(raw, np.dtype(storage.dtype).newbyteorder(order))
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _tensors(
    contents: Any, read: Callable[[Storage], np.ndarray], limit: int
) -> dict[str, np.ndarray]:
    """Materialises a mapping of names to tensors; each storage is read once per run of tensors.

    All sizes are added up before the first value is read: `limit` bytes are the most, in the types
    of the file (bfloat16 is not yet widened).
    """
    if not isinstance(contents, Mapping):
        raise RefusedError(f"it holds {kind_of(contents)}, expected a state dict of tensors")
    total = 0
    for name, tensor in contents.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise RefusedError(
                f"entry {name!r} is {kind_of(tensor)}, expected a tensor: save the state dict alone"
            )
        total += math.prod(tensor.size) * _itemsize(tensor.storage.dtype)
        if total > limit:
            raise RefusedError(
                f"with tensor {name!r} it repeats its values to {total} bytes, more than the "
                f"{limit} that a file of its size may hold"
            )
    result: dict[str, np.ndarray] = {}
    last: tuple[Storage | None, np.ndarray | None] = (None, None)
    for name, tensor in contents.items():
        if tensor.storage != last[0]:
            last = (tensor.storage, read(tensor.storage))
        result[name] = _strided(name, tensor, last[1])
    return result


def _strided(name: str, tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """The contiguous copy of a view; refuses what reaches outside the storage."""
    if math.prod(tensor.size) == 0:
        return np.zeros(tensor.size, values.dtype)
    furthest = tensor.offset
    for n, step in zip(tensor.size, tensor.stride, strict=True):
        furthest += (n - 1) * step
    if furthest >= len(values):
        raise RefusedError(f"tensor {name!r} reaches outside its storage")
    view = np.lib.stride_tricks.as_strided(
        values[tensor.offset :],
        tensor.size,
        [step * values.itemsize for step in tensor.stride],
        writeable=False,
    )
    return np.array(view, order="C")
