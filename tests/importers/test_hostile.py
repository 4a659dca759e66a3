"""Nothing in a file is executed: code, foreign classes and bombs are refused by name."""

import pickle
import struct
import sys

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.importers import contents, reader
from tests.importers import writer


def read(tmp_path, raw):
    path = tmp_path / "net.pkl"
    path.write_bytes(raw)
    return contents.read(path)


class Runs:
    """Pickled as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def code(tmp_path):
    return f"open({str(tmp_path / 'was_run')!r}, 'w')"


def hostile_pickles(tmp_path):
    """name -> (pickle, what the message must name)."""
    import builtins
    import os
    import subprocess

    line = code(tmp_path)
    shell = f"touch {tmp_path / 'was_run'}"
    chain = Runs(builtins.getattr, Runs(builtins.__import__, "os"), "system")
    meta = {"type": "class", "version": 6, "module_src": "", "class_name": "Generator"}
    persistent = "torch_utils.persistence._reconstruct_persistent_obj"
    inner = pickle.dumps(Runs(os.system, shell), 2)
    return {
        "system": (pickle.dumps(Runs(os.system, shell)), "posix.system"),
        "system in protocol 2": (pickle.dumps(Runs(os.system, shell), 2), "posix.system"),
        "eval": (pickle.dumps(Runs(eval, line)), "builtins.eval"),
        "exec": (pickle.dumps({"G_ema": Runs(exec, line)}), "builtins.exec"),
        "getattr": (pickle.dumps(chain), "builtins.getattr"),
        "popen": (pickle.dumps(Runs(subprocess.Popen, shell)), "subprocess.Popen"),
        "old instance": (b"\x80\x02(S'" + shell.encode() + b"'\niposix\nsystem\n.", "posix.system"),
        "object": (b"\x80\x02(cposix\nsystem\nS'x'\no.", "posix.system"),
        "allowed name by path": (
            b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
            "numpy.ndarray.__class__",
        ),
        "unknown torch class": (
            writer.dumps(writer.Call("torch.nn.modules.linear.Linear", 1)),
            "torch.nn.modules.linear.Linear",
        ),
        "torch.load": (writer.dumps(writer.Call("torch.serialization.load", "x")), "torch.ser"),
        "in a module": (
            writer.dumps(writer.Call(persistent, meta | {"state": {"x": Runs(eval, line)}})),
            "builtins.eval",
        ),
        "in a storage": (
            writer.dumps(writer.Call("torch.storage._load_from_bytes", inner)),
            "posix.system",
        ),
        "as a state": (
            writer.dumps(writer.Network(version=4, build_module_src=Runs(eval, line))),
            "builtins.eval",
        ),
        "an extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "calls a list": (b"\x80\x02])R.", "a list"),
        "persistent": (b"\x80\x02K\x01Q.", "outside itself"),
        "objects in arrays": (
            writer.dumps({"G_ema": np.array([{}, 1], dtype=object), "D": 1}),
            "O8",
        ),
    }


NAMES = tuple(hostile_pickles(__import__("pathlib").Path("/nowhere")))


@pytest.mark.parametrize("name", NAMES)
def test_code_is_refused_by_name_and_nothing_is_run(name, tmp_path):
    raw, named = hostile_pickles(tmp_path)[name]
    loaded = set(sys.modules)
    with pytest.raises(UserError, match="net.pkl") as error:
        read(tmp_path, raw)
    assert named in str(error.value), error.value
    assert [p.name for p in tmp_path.iterdir()] == ["net.pkl"]
    assert not {m for m in set(sys.modules) - loaded if m.startswith(("torch", "dnnlib"))}


def test_source_text_is_never_compiled(tmp_path, golden_file):
    file = golden_file("stylegan2_ada_unconditional")
    raw = writer.torch_file(file, module_src=f"{code(tmp_path)}\nraise SystemExit")
    assert b"was_run" in raw
    found = read(tmp_path, raw).networks["generator_ema"]
    assert found.arguments == file.networks["generator_ema"].arguments
    assert [p.name for p in tmp_path.iterdir()] == ["net.pkl"]


# --- Bombs --------------------------------------------------------------------------------------


def torch_contents(values=None, arguments=None, children=None):
    return {
        "G_ema": writer.module("Generator", values or {}, arguments or {}, children=children),
        "D": writer.module("Discriminator", {}, {}),
    }


def doubled(times):
    value = ["laugh"]
    for _ in range(times):
        value = [value, value]
    return value


def many_modules(times):
    part = writer.module("Layer", {}, {})
    for _ in range(times):
        part = writer.module("Layer", {}, {}, children={"a": part, "b": part})
    return part


def nested_modules(times):
    part = writer.module("Layer", {}, {})
    for _ in range(times):
        part = writer.module("Layer", {}, {}, children={"a": part})
    return part


def repeated():
    made = torch_contents()
    state = made["G_ema"].arguments[0]["state"]
    huge = writer.tensor(np.zeros(4, np.float32), (2**20, 2**20), (0, 0))
    state["_parameters"] = {"weight": huge}
    return made


def outside():
    made = torch_contents()
    state = made["G_ema"].arguments[0]["state"]
    state["_parameters"] = {"weight": writer.tensor(np.zeros(4, np.float32), (5,), (1,))}
    return made


def itself():
    made = torch_contents()
    own = made["G_ema"].arguments[0]["state"]["_modules"]
    layer = {"_parameters": {}, "_buffers": {}}
    meta = {"type": "class", "version": 6, "module_src": "", "class_name": "Layer", "state": layer}
    layer["_modules"] = own
    own["again"] = writer.Call("torch_utils.persistence._reconstruct_persistent_obj", meta)
    return made


def wide_tables():
    """Few bytes, many steps: modules that share a table of empty entries, or of children."""
    made = torch_contents(children={"b": many_modules(9)})
    layer = made["G_ema"].arguments[0]["state"]["_modules"]["b"]
    empty = dict.fromkeys(map(str, range(20_000)))
    while True:
        state = layer.arguments[0]["state"]
        state["_parameters"] = empty
        if not state["_modules"]:
            return made
        layer = state["_modules"]["a"]


def wide_children():
    part = writer.module("Layer", {}, {})
    return torch_contents(children=dict.fromkeys(map(str, range(20_000)), part))


def counted(count):
    made = torch_contents()
    storage = writer.storage_bytes(np.zeros(4, np.float32), count)
    tensor = writer.tensor(np.zeros(4, np.float32))
    tensor.arguments = (writer.Call("torch.storage._load_from_bytes", storage), 0, (4,), (1,))
    made["G_ema"].arguments[0]["state"]["_parameters"] = {"weight": tensor}
    return made


BOMBS = {
    "arguments that double": (lambda: torch_contents(arguments={"z_dim": doubled(60)}), "deep"),
    "arguments that are many": (
        lambda: torch_contents(arguments={"x": [doubled(12)] * 4}),
        "parts",
    ),
    "modules that double": (lambda: torch_contents(children={"b": many_modules(14)}), "parts"),
    "modules nested deep": (lambda: torch_contents(children={"b": nested_modules(40)}), "deep"),
    "a module in itself": (itself, "deep"),
    "tables of nothing": (wide_tables, "tensors"),
    "children without end": (wide_children, "parts"),
    "a module's long name": (
        lambda: torch_contents(children={"a" * 10**6: writer.module("Layer", {}, {})}),
        "no table _modules of names",
    ),
    "a number without end": (lambda: torch_contents(arguments={"z": 10**5000}), "without end"),
    "a text without end": (lambda: torch_contents(arguments={"z": "a" * 10**6}), "without end"),
    "a tensor that repeats": (repeated, "repeat their values"),
    "a tensor outside": (outside, "outside its storage"),
    "a storage cut short": (lambda: counted(10**9), "bytes for"),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.timeout(20)
def test_bombs_are_refused(name, tmp_path):
    make, named = BOMBS[name]
    with pytest.raises(UserError, match=named):
        read(tmp_path, writer.dumps(make()))


def array_claiming(shape, raw):
    dtype = np.dtype("f4")
    state = (1, shape, dtype, False, raw)

    class Claims:
        def __reduce__(self):
            return np.empty(0).__reduce__()[0], (np.ndarray, (0,), b"b"), state

    return Claims()


FILLS = {  # pickles that unfold while they are read
    # dict items and sets from a remembered list, over and over
    "dicts": b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01("
    + b"K\x01K\x02\x86" * 1000
    + b"e0("
    + b"h\x00h\x01\x85R" * 5000
    + b"t.",
    "sets": b"\x80\x02cbuiltins\nset\nq\x00]q\x01("
    + b"K\x01" * 1000
    + b"e0("
    + b"h\x00h\x01\x85R" * 5000
    + b"t.",
    "text": b"\x80\x02c_codecs\nencode\nq\x00X\xe8\x03\x00\x00"
    + b"a" * 1000
    + b"q\x01X\x06\x00\x00\x00latin1q\x020("
    + b"h\x00h\x01h\x02\x86R" * 5000
    + b"t.",
    # Python 2's bytes are text here: each array of them is a copy
    "arrays": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01"
    + b"cnumpy\ndtype\nX\x02\x00\x00\x00f4K\x00K\x01\x87Rq\x02X\xa0\x0f\x00\x00"
    + b"a" * 4000
    + b"q\x030000("
    + b"h\x00h\x01K\x00\x85U\x01b\x87R(K\x01M\xe8\x03\x85h\x02\x89h\x03tb" * 500
    + b"t.",
}


@pytest.mark.parametrize("name", FILLS)
def test_what_unfolds_while_reading_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="than it has bytes"):
        read(tmp_path, FILLS[name])


def test_an_array_holds_exactly_its_bytes(tmp_path):
    with pytest.raises(UserError, match="4 bytes for an array of shape"):
        read(tmp_path, writer.dumps(array_claiming((2**30, 4), b"abcd")))


BROKEN = {
    "empty": b"",
    "text": b"<html>not found</html>",
    "zip": b"PK\x03\x04rest",
    "stop alone": b"\x80\x02.",
    "long claim": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x",
    "unknown memo": b"\x80\x02h\x07.",
    "no mark": b"\x80\x02K\x01t.",
    "mark as a value": b"\x80\x02(\x85.",
    "a number": pickle.dumps(3),
    "a list of numbers": pickle.dumps([1, 2, 3]),
    "an unhashable key": b"\x80\x02}]K\x01s.",
    "no G_ema": pickle.dumps({"G": 1, "D": 2}),
    "numbers for modules": pickle.dumps({"G_ema": 1, "D": 2}),
    "long key": b"\x80\x02}\x8b" + struct.pack("<i", 5000) + b"\x7f" * 5000 + b"K\x01s.",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named(name, tmp_path):
    with pytest.raises(UserError, match="net.pkl"):
        read(tmp_path, BROKEN[name])


@pytest.mark.parametrize("share", (0.01, 0.5, 0.99))
def test_a_truncated_file_is_named(share, tmp_path, golden_file):
    raw = golden_file("stylegan2_tf").path.read_bytes()
    with pytest.raises(UserError, match="net.pkl"):
        read(tmp_path, raw[: int(len(raw) * share)])


def test_every_prefix_and_flipped_byte_is_refused_or_read(tmp_path, golden_file):
    """Fuzz: whatever bytes there are, the answer is a UserError or inert records."""
    raw = bytearray(golden_file("progan_tf").path.read_bytes()[:3000])
    rng = np.random.default_rng(0)
    path = tmp_path / "net.pkl"
    for _ in range(150):
        changed = bytearray(raw)
        for at in rng.integers(0, len(raw), 3):
            changed[at] = rng.integers(0, 256)
        path.write_bytes(changed)
        with pytest.raises(UserError):  # cut short, so never whole
            reader.read_pickle(path)
