"""One torch storage from the bytes that `torch.storage._load_from_bytes` would be given.

`torch.save` without a zip: five pickles (magic number, protocol, system, the storage, the list of
its key), then an int64 count and the raw values.
"""

import io
import struct
from typing import Any

import numpy as np

from ganpipe.importers.records import Storage, is_count
from ganpipe.ops.pickle_machine import Name, PickleMachine, RefusedError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Storage class -> NumPy type of its raw values; bfloat16 is widened to float32, exactly.
_TYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_NAMES = frozenset(f"torch.{name}" for name in _TYPES)
_PURPOSE = "a tensor's storage"


class _StorageMachine(PickleMachine):
    def __init__(self, file: io.BytesIO):
        super().__init__(file, _NAMES, _PURPOSE)

    def persistent(self, reference: Any) -> tuple[str, int]:
        """('storage', class, key, place, count, None) -> (type of the values, count)."""
        if not isinstance(reference, tuple) or not 5 <= len(reference) <= 6:
            raise RefusedError("its pickle refers to something other than a plain storage")
        kind, cls, _key, _place, count, *rest = reference
        if kind != "storage" or not isinstance(cls, Name) or rest not in ([], [None]):
            raise RefusedError("its pickle refers to something other than a plain storage")
        if not is_count(count):
            raise RefusedError("its pickle describes a storage wrongly")
        return _TYPES[cls.name.removeprefix("torch.")], count


def read_storage(raw: Any) -> Storage:
    """Parses the stream of one storage; the values are a view of `raw`.

    Raises:
      RefusedError: anything but one storage of plain numbers, complete to the byte.
    """
    if not isinstance(raw, bytes):
        raise RefusedError("its pickle gives no bytes for a storage")
    file = io.BytesIO(raw)
    if _StorageMachine(file).run() != _MAGIC or _StorageMachine(file).run() != _PROTOCOL:
        raise RefusedError("a storage of its pickle is no stream of torch.save")
    system = _StorageMachine(file).run()
    if not isinstance(system, dict):
        raise RefusedError("a storage of its pickle is no stream of torch.save")
    order = "<" if system.get("little_endian", True) else ">"
    described = _StorageMachine(file).run()
    keys = _StorageMachine(file).run()
    if not isinstance(described, tuple) or not isinstance(keys, list) or len(keys) != 1:
        raise RefusedError("its pickle gives something other than one storage for a storage")
    dtype, count = described
    (stored,) = struct.unpack(f"{order}q", file.read(8))
    code = f"{order}u2" if dtype == "bfloat16" else np.dtype(dtype).newbyteorder(order)
    if stored != count or len(raw) - file.tell() != count * np.dtype(code).itemsize:
        raise RefusedError(
            f"a storage of its pickle holds {len(raw) - file.tell()} bytes for {count} values"
        )
    values = np.frombuffer(raw, code, offset=file.tell())
    if dtype == "bfloat16":  # the upper half of a float32
        return Storage((values.astype(np.uint32) << 16).view(np.float32))
    return Storage(values.astype(values.dtype.newbyteorder("="), copy=False))
