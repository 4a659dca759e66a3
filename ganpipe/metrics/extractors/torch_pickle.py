"""The opcodes of a PyTorch pickle, interpreted without running it: see `torch_file`.

`pickletools` of the standard library decodes the opcodes; the `Machine` keeps a stack and a memo
like Python's own, but a name stays a name. Three calls are understood (an ordered dict, a tensor
and a parameter), storages are descriptions, and everything else is refused.
"""

import mmap
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

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
class _Global:
    """A name that the pickle asked for; never resolved to an object."""

    name: str


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


class RefusedError(Exception):
    """Why the pickle is not read; becomes a UserError that names the file."""


def kind_of(value: Any) -> str:
    """What a value is, for messages; never its contents, which may be endless."""
    if isinstance(value, Tensor):
        return "a tensor"
    if isinstance(value, _Global):
        return value.name
    return f"a {type(value).__name__}"


_MARK = object()
_PUSH = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_IGNORED = {"PROTO", "FRAME"}


@dataclass
class Machine:
    """Interprets one pickle of a stream up to its STOP; leaves the stream behind it."""

    file: BinaryIO | mmap.mmap
    storages: dict[str, Storage] = field(default_factory=dict)

    def run(self) -> Any:
        """The object; RefusedError for what is not allowed, ValueError for what is broken."""
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.start, self.filled = self.file.tell(), 0
        for opcode, argument, _ in pickletools.genops(self.file):
            name = opcode.name
            if name in _PUSH:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name not in _IGNORED:
                step = getattr(self, f"_op_{name.lower()}", None)
                if step is None:
                    raise RefusedError(
                        f"its pickle uses the opcode {name}, which no state dict needs"
                    )
                step(argument)
        if len(self.stack) != 1:
            raise ValueError("a malformed pickle")
        return self.stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("a pickle with an unmatched mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _op_stop(self, _: Any) -> None:
        pass

    def _op_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _op_pop(self, _: Any) -> None:
        self.stack.pop()

    def _op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._pop_to_mark()))

    def _op_tuple1(self, _: Any) -> None:
        self._last_as_tuple(1)

    def _op_tuple2(self, _: Any) -> None:
        self._last_as_tuple(2)

    def _op_tuple3(self, _: Any) -> None:
        self._last_as_tuple(3)

    def _last_as_tuple(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def _op_append(self, _: Any) -> None:
        item = self.stack.pop()
        self._target(list).append(item)

    def _op_appends(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._target(list).extend(items)

    def _op_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self._target(dict), [(key, value)])

    def _op_setitems(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._fill(self._target(dict), zip(items[::2], items[1::2], strict=True))

    def _fill(self, target: dict, items: Iterable[Any]) -> None:
        """Sets pairs. Keys are text or numbers: hashing nested tuples can take for ever.

        A remembered list can fill any number of dicts (Python 2 writes an ordered dict as a call
        with a list), so the pairs are counted: an honest pickle spells each out, in over a byte.
        Only what has been read so far counts.
        """
        for key, value in items:
            self.filled += 1
            if self.filled > self.file.tell() - self.start:
                raise RefusedError("its pickle fills dicts with more pairs than it has bytes")
            if not isinstance(key, str | int | float):
                raise RefusedError(f"its pickle uses {kind_of(key)} as a key, expected names")
            target[key] = value

    def _target(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            found = kind_of(self.stack[-1])
            raise ValueError(f"a pickle that fills {found} like a {kind.__name__}")
        return self.stack[-1]

    def _op_binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _op_long_binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _op_put(self, index: str) -> None:
        self.memo[int(index)] = self.stack[-1]

    def _op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _op_binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _op_long_binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _op_get(self, index: str) -> None:
        self.stack.append(self.memo[int(index)])

    def _op_global(self, argument: str) -> None:
        self._push_global(".".join(argument.split(" ", 1)))

    def _op_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a pickle that asks for a name that is no text")
        self._push_global(f"{module}.{name}")

    def _op_inst(self, argument: str) -> None:
        self._push_global(".".join(argument.split(" ", 1)))
        raise RefusedError("its pickle makes an instance, which no state dict needs")

    def _push_global(self, name: str) -> None:
        if name not in ALLOWED:
            raise RefusedError(
                f"its pickle asks for {name!r}, which a file of tensors does not need: refused, "
                "and nothing in it was run. Do not load this file with PyTorch or pickle"
            )
        self.stack.append(_Global(name))

    def _op_binpersid(self, _: Any) -> None:
        kind, cls, key, _location, count, *rest = self.stack.pop()
        if kind != "storage" or not isinstance(cls, _Global) or any(r is not None for r in rest):
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
        self.stack.append(storage)

    def _op_reduce(self, _: Any) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        name = called.name if isinstance(called, _Global) else None
        if not isinstance(arguments, tuple):
            raise ValueError("a pickle that calls without arguments")
        if name == _ORDERED_DICT and len(arguments) <= 1:
            self.stack.append({})
            for items in arguments:
                self._fill(self.stack[-1], items)
        elif name == _REBUILD_TENSOR:
            self.stack.append(_tensor(*arguments))
        elif name == _REBUILD_PARAMETER and arguments and isinstance(arguments[0], Tensor):
            self.stack.append(arguments[0])
        else:
            raise RefusedError(f"its pickle calls {kind_of(called)}: refused, and nothing was run")

    def _op_build(self, _: Any) -> None:
        # torch.save attaches `_metadata` to the ordered dict; nothing here needs it.
        self.stack.pop()
        self._target(dict)


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
