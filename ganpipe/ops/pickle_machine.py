"""Pickle opcodes, interpreted without running them.

A pickle is a program: loading one with `pickle` imports whatever it names and calls it. Here
`pickletools` of the standard library only decodes the opcodes; `PickleMachine` keeps a stack and a
memo as Python's own machine does, but a name stays a `Name`, and what calling one means is decided
by a subclass that knows a few names. Nothing is imported or called.

What is read never recurses, so deep nesting needs no stack of ours, and every value costs at least
a byte of the file: a subclass has to count only what it multiplies itself (`pay`).
"""

import mmap
import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from ganpipe.errors import UserError


@dataclass(frozen=True)
class Name:
    """A dotted name that the pickle asked for; never resolved to an object."""

    name: str


class RefusedError(UserError):
    """Why a pickle is not read; callers put the file's name in front of it."""


def kind_of(value: Any) -> str:
    """What a value is, for messages; never its contents, which may be endless."""
    return value.name if isinstance(value, Name) else f"a {type(value).__name__}"


_MARK = object()
_PUSH = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})


class PickleMachine:
    """Interprets one pickle up to its STOP and leaves the stream behind it.

    A subclass decides what names mean: `called`, `made`, `filled_in` and `persistent` refuse
    everything here.

    Args:
      file: a map or a BytesIO at the pickle's first byte (neither reads more than there is).
      allowed: dotted names that the pickle may ask for.
      purpose: what the file should be, for messages: "a file of networks".

    Attributes:
      refused: opcodes that this kind of file does not need, though the machine knows them.
    """

    refused: frozenset[str] = frozenset()

    def __init__(self, file: BinaryIO | mmap.mmap, allowed: frozenset[str], purpose: str):
        self.file, self.allowed, self.purpose = file, allowed, purpose
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.start, self.paid = file.tell(), 0

    def run(self) -> Any:
        """The object.

        Raises:
          RefusedError: the pickle asks for what it may not have.
          ValueError, IndexError, KeyError, TypeError: it is broken.
        """
        for opcode, argument, _ in pickletools.genops(self.file):
            name = opcode.name
            if name in self.refused:
                raise self._unknown(name)
            if name in _PUSH:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name not in _IGNORED:
                step = getattr(self, f"_op_{name.lower()}", None)
                if step is None:
                    raise self._unknown(name)
                step(argument)
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise ValueError("a malformed pickle")
        return self.stack.pop()

    # --- What a subclass decides ----------------------------------------------------------------

    def called(self, name: str, arguments: tuple) -> Any:
        """The inert record that stands for calling an allowed name; REDUCE."""
        del arguments
        raise RefusedError(f"its pickle calls {name}: refused, and nothing was run")

    def made(self, name: str, arguments: tuple) -> Any:
        """The inert record that stands for an instance of an allowed name; NEWOBJ."""
        del arguments
        raise RefusedError(f"its pickle makes a {name!r}: refused, and nothing was run")

    def filled_in(self, target: Any, state: Any) -> None:
        """Gives a record the state that the pickle holds for it; BUILD."""
        del state
        raise RefusedError(f"its pickle gives a state to {kind_of(target)}: refused")

    def persistent(self, reference: Any) -> Any:
        """What lies outside the pickle under a reference; BINPERSID."""
        raise RefusedError(f"its pickle refers to {kind_of(reference)} outside itself")

    def pay(self, count: int, what: str) -> None:
        """Counts values that the reader makes without a byte each in the file.

        A remembered value can be used any number of times for two bytes; an honest file spells
        each out. Only what has been read so far counts.
        """
        self.paid += count
        if self.paid > self.file.tell() - self.start:
            raise RefusedError(f"its pickle {what} than it has bytes")

    # --- Opcodes --------------------------------------------------------------------------------

    def _unknown(self, opcode: str) -> RefusedError:
        return RefusedError(f"its pickle uses the opcode {opcode}, {self._unneeded()}")

    def _unneeded(self) -> str:
        return f"which {self.purpose} does not need"

    def _pop_to_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("a pickle with an unmatched mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a pickle that takes a mark for a value")
        return value

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
        self.stack.append(tuple([self._pop() for _ in range(count)][::-1]))

    def _op_list(self, _: Any) -> None:
        self.stack.append(self._pop_to_mark())

    def _op_dict(self, _: Any) -> None:
        items = self._pop_to_mark()
        self.stack.append(self.mapping(zip(items[::2], items[1::2], strict=True)))

    def _op_append(self, _: Any) -> None:
        item = self._pop()
        self._target(list).append(item)

    def _op_appends(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._target(list).extend(items)

    def _op_additems(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._target(set).update(map(self.key, items))

    def _op_setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._target(dict).update(self.mapping([(key, value)]))

    def _op_setitems(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._target(dict).update(self.mapping(zip(items[::2], items[1::2], strict=True)))

    def mapping(self, items: Iterable[Any]) -> dict:
        """A dict of pairs, paid for: a remembered list can fill any number of dicts."""
        result = {}
        for key, value in items:
            self.pay(1, "fills dicts with more pairs")
            result[self.key(key)] = value
        return result

    def key(self, value: Any) -> Any:
        """A key of a dict or set: text or a small whole number.

        Hashing nested tuples can take for ever, and large numbers of equal hashes are easily found.
        """
        if not isinstance(value, str) and not (isinstance(value, int) and abs(value) < 2**31):
            raise RefusedError(f"its pickle uses {kind_of(value)} as a key, expected names")
        return value

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
        self._push_name(".".join(argument.split(" ", 1)))

    def _op_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a pickle that asks for a name that is no text")
        self._push_name(f"{module}.{name}")

    def _op_inst(self, argument: str) -> None:
        self._push_name(".".join(argument.split(" ", 1)))
        raise RefusedError(f"its pickle makes an old-style instance, {self._unneeded()}")

    def _push_name(self, name: str) -> None:
        if name not in self.allowed:
            raise RefusedError(
                f"its pickle asks for {name[:200]!r}, {self._unneeded()}: refused, and nothing in "
                "it was run. Do not load this file with pickle or PyTorch"
            )
        self.stack.append(Name(name))

    def _op_binpersid(self, _: Any) -> None:
        self.stack.append(self.persistent(self._pop()))

    def _op_reduce(self, _: Any) -> None:
        self._instance(self.called)

    def _op_newobj(self, _: Any) -> None:
        self._instance(self.made)

    def _instance(self, decide: Callable[[str, tuple], Any]) -> None:
        arguments, called = self._pop(), self._pop()
        if not isinstance(called, Name):
            raise RefusedError(f"its pickle calls {kind_of(called)}: refused, and nothing was run")
        if not isinstance(arguments, tuple):
            raise ValueError("a pickle that calls without arguments")
        self.stack.append(decide(called.name, arguments))

    def _op_build(self, _: Any) -> None:
        state = self._pop()
        self.filled_in(self.stack[-1], state)
