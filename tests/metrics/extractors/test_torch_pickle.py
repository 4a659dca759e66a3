"""The machine of torch pickles is the shared one, and understands no more than state dicts need."""

import io
import pickletools

import pytest

from ganpipe.metrics.extractors import torch_pickle
from ganpipe.ops import pickle_machine

# Everything else that pickles are made of; an opcode that a later Python adds is refused as well.
UNDERSTOOD = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "NONE", "NEWTRUE", "NEWFALSE"),
    *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "POP", "MARK", "GET", "BINGET", "LONG_BINGET"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    *("INST", "PROTO", "STOP", "FRAME", "BINPERSID"),
}
ARGUMENTS = {"BYTEARRAY8": bytes(8), "PERSID": b"x\n", "EXT1": b"1", "EXT2": b"12", "EXT4": b"1234"}
OTHERS = [code for code in pickletools.opcodes if code.name not in UNDERSTOOD]


def run(body):
    return torch_pickle.Machine(io.BytesIO(body)).run()


def test_there_is_one_machine():
    assert issubclass(torch_pickle.Machine, pickle_machine.PickleMachine)
    assert torch_pickle.RefusedError is pickle_machine.RefusedError
    own = {name for name in vars(torch_pickle.Machine) if name.startswith("_op_")}
    assert not own


@pytest.mark.parametrize("code", OTHERS, ids=lambda code: code.name)
def test_other_opcodes_are_refused_by_name(code):
    # A list and an allowed name lie ready, so that the opcode would find what it takes.
    before = b"\x80\x02ccollections\nOrderedDict\n("
    body = before + code.code.encode("latin-1") + ARGUMENTS.get(code.name, b"") + b"."
    with pytest.raises(torch_pickle.RefusedError, match=f"the opcode {code.name}, which a file of"):
        run(body)


def test_what_is_understood_stays_inert():
    machine = torch_pickle.Machine(
        io.BytesIO(b"\x80\x02((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x02tQt.")
    )
    storage = torch_pickle.Storage("0", "f4", 2)
    assert machine.run() == (storage,) and machine.storages == {"0": storage}
    # A dict stays a plain one, whatever state is built onto it.
    assert run(b"\x80\x02ccollections\nOrderedDict\n)R}(U\x01aK\x01ub.") == {}
    with pytest.raises(torch_pickle.RefusedError, match="calls torch.FloatStorage: refused"):
        run(b"\x80\x02ctorch\nFloatStorage\n)R.")


def test_a_name_is_shown_in_part():
    long = "x" * 5000
    with pytest.raises(torch_pickle.RefusedError, match="asks for 'posix.xxx") as error:
        run(b"\x80\x02cposix\n" + long.encode() + b"\n.")
    assert len(str(error.value)) < 500


def test_long_arguments_are_refused_and_not_copied():
    # A memory of 1000 texts, named again and again: each time it would be copied.
    memory = b"\x80\x02(U\x07storage" + b"U\x01x" * 1000 + b"tq\x00"
    with pytest.raises(torch_pickle.RefusedError, match="other than a plain storage"):
        run(memory + b"Q.")
    with pytest.raises(torch_pickle.RefusedError, match="calls torch._utils._rebuild_tensor_v2"):
        run(memory + b"ctorch._utils\n_rebuild_tensor_v2\nh\x00R.")


@pytest.mark.parametrize(
    "number", [b"G\x40\x00\x00\x00\x00\x00\x00\x00", b"L2305843009213693951L\n"]
)
def test_numbers_of_chosen_hashes_are_no_keys(number):
    with pytest.raises(torch_pickle.RefusedError, match="as a key, expected names"):
        run(b"\x80\x02}" + number + b"K\x01s.")
