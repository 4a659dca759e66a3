"""The opcodes of a PyTorch pickle, interpreted without running it: see `torch_file`.

The machine is that of `ganpipe.ops.pickle_machine`. Three calls are understood (an ordered dict, a
tensor and a parameter), storages are descriptions, and everything else is refused.
"""

import mmap
from dataclasses import dataclass
from typing import Any, BinaryIO

from ganpipe.ops import pickle_machine
from ganpipe.ops.pickle_machine import Name, PickleMachine, RefusedError

# torch storage class -> NumPy type of its raw values; bfloat16 is widened to float32, exactly.
STORAGES = {
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
_REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
_REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
_ORDERED_DICT = "collections.OrderedDict"
ALLOWED = frozenset({_ORDERED_DICT, _REBUILD_TENSOR, _REBUILD_PARAMETER}) | {
    f"torch.{name}" for name in STORAGES
}


@dataclass(frozen=True)
class Storage:
    """Raw values: `count` of `dtype` (a value of `STORAGES`) under a key of the container."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides in elements. Not checked against the storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def kind_of(value: Any) -> str:
    """What a value is, for messages; never its contents, which may be endless."""
    return "a tensor" if isinstance(value, Tensor) else pickle_machine.kind_of(value)


class Machine(PickleMachine):
    """Interprets one pickle of a stream up to its STOP; leaves the stream behind it.

    Attributes:
      storages: the storages that the pickle describes, by their keys.
    """

    # torch.save writes none of these, in any protocol; what is not needed is refused.
    refused = frozenset({"ADDITEMS", "BYTEARRAY8", "DICT", "EMPTY_SET", "LIST", "NEWOBJ"})

    def __init__(self, file: BinaryIO | mmap.mmap):
        super().__init__(file, ALLOWED, "a file of tensors")
        self.storages: dict[str, Storage] = {}

    def called(self, name: str, arguments: tuple) -> Any:
        """REDUCE: the three calls of a state dict."""
        if name == _ORDERED_DICT and len(arguments) <= 1:
            # Python 2 writes an ordered dict as a call with a list of pairs.
            return self.mapping(*(arguments or ((),)))
        if name == _REBUILD_TENSOR and len(arguments) <= 8:  # more would be copied each time
            return _tensor(*arguments)
        if name == _REBUILD_PARAMETER and arguments and isinstance(arguments[0], Tensor):
            return arguments[0]
        return super().called(name, arguments)

    def filled_in(self, target: Any, state: Any) -> None:
        """BUILD: torch.save attaches `_metadata` to the ordered dict; nothing here needs it."""
        del target, state
        self._target(dict)

    def persistent(self, reference: Any) -> Storage:
        """BINPERSID: ('storage', class, key, place, count, None) -> Storage."""
        if not isinstance(reference, tuple) or not 5 <= len(reference) <= 6:
            raise RefusedError("its pickle refers to something other than a plain storage")
        kind, cls, key, _location, count, *rest = reference
        if kind != "storage" or not isinstance(cls, Name) or any(r is not None for r in rest):
            raise RefusedError("its pickle refers to something other than a plain storage")
        dtype = STORAGES.get(cls.name.removeprefix("torch."))
        if dtype is None or not isinstance(key, str) or not _count(count):
            raise RefusedError("its pickle describes a storage wrongly")
        # Keys of the zip container are file names inside it.
        if "/" in key or ".." in key:
            raise RefusedError(f"its pickle names the storage {key!r}")
        storage = Storage(key, dtype, count)
        if self.storages.setdefault(key, storage) != storage:
            raise RefusedError(f"its pickle describes the storage {key!r} in two ways")
        return storage


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_unused: Any) -> Tensor:
    if not isinstance(storage, Storage) or not _count(offset):
        raise RefusedError("its pickle describes a tensor wrongly")
    for numbers in (size, stride):
        # The length comes first: one long tuple can be remembered and given any number of times.
        if not isinstance(numbers, tuple) or len(numbers) > 32 or not all(map(_count, numbers)):
            raise RefusedError("its pickle describes a tensor wrongly")
    if len(size) != len(stride):
        raise RefusedError("its pickle describes a tensor wrongly")
    return Tensor(storage, offset, size, stride)
