"""Torch files are read exactly, and a pickle that would run something is refused unrun."""

import builtins
import hashlib
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import torch_file

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = ("state_stream.pth", "state_zip.pth")
HEADS = Path(torch_file.__file__).parent / "lpips_heads"


def expected():
    with np.load(GOLDEN / "state_values.npz") as archive:
        return {k: archive[k] for k in archive.files if k != "meta_json"}


# --- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_layout_and_type(name):
    state, values = torch_file.read_state_dict(GOLDEN / name), expected()
    assert list(state) == list(values)
    for key, value in values.items():
        assert state[key].dtype == value.dtype and state[key].shape == value.shape, key
        np.testing.assert_array_equal(state[key], value, err_msg=key)
        assert state[key].flags.writeable and state[key].flags.c_contiguous


@pytest.mark.parametrize("name", FILES)
def test_tensors_do_not_share_memory(name):
    state = torch_file.read_state_dict(GOLDEN / name)
    state["shared_a"][:] = 99
    assert state["shared_b"].max() < 99


def test_a_file_that_python_2_wrote():
    state = torch_file.read_state_dict(HEADS / "alex.pth", "df73285e")
    assert [v.shape for v in state.values()] == [(1, c, 1, 1) for c in (64, 192, 384, 256, 256)]
    assert all((v >= 0).all() and v.dtype == np.float32 for v in state.values())


def test_big_endian_values_are_turned(tmp_path):
    path = rewrite_zip(
        tmp_path,
        lambda name, data: b"big" if name.endswith("byteorder") else data,
    )
    state, values = torch_file.read_state_dict(path), expected()
    np.testing.assert_array_equal(state["contiguous"], values["contiguous"].byteswap())


# --- hashes and damage --------------------------------------------------------------------------


def test_the_hash_is_verified_by_its_start():
    path = GOLDEN / FILES[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch_file.check_sha256(path, digest[:8].upper()) == digest
    assert len(torch_file.read_state_dict(path, digest)) == 16
    with pytest.raises(UserError, match=f"SHA-256 is {digest}, expected 6726825d"):
        torch_file.read_state_dict(path, "6726825d")
    with pytest.raises(UserError):
        torch_file.check_sha256(path, "")


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_refused(name, tmp_path):
    data = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=name):
            torch_file.read_state_dict(path)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_gives_user_errors_alone(name, tmp_path):
    data = bytearray((GOLDEN / name).read_bytes())
    rng = np.random.RandomState(0)
    path = tmp_path / name
    for _ in range(300):
        broken = bytearray(data)
        for place in rng.randint(0, len(data), 3):
            broken[place] = rng.randint(0, 256)
        path.write_bytes(broken)
        try:
            torch_file.read_state_dict(path)
        except UserError as error:
            assert name in str(error)


def test_what_is_no_torch_file(tmp_path):
    path = tmp_path / "x.pth"
    for data, message in (
        (b"hello", "not a torch file"),
        (pickle.dumps({"a": 1}), "magic number"),
        (zip_of({"model.npy": b"1"}), "not a state dict"),
        (zip_of({"m/data.pkl": pickle.dumps({}, 2), "m/constants.pkl": b""}), "TorchScript"),
        (zip_of({"m/data.pkl": pickle.dumps([1, 2], 2)}), "holds a list"),
        (zip_of({"m/data.pkl": pickle.dumps({"epoch": 3}, 2)}), "'epoch' is a int"),
        (zip_of({"m/data.pkl": b"x" * 99}, zipfile.ZIP_DEFLATED), "compressed"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=message):
            torch_file.read_state_dict(path)
    with pytest.raises(UserError, match="no such file"):
        torch_file.read_state_dict(tmp_path / "missing.pth")


# --- hostile pickles ----------------------------------------------------------------------------


def zip_of(entries, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def stream_of(body):
    """The container up to PyTorch 1.5 around one pickle."""
    head = [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join(head) + body + pickle.dumps([], 2)


def rewrite_zip(tmp_path, change):
    source = zipfile.ZipFile(GOLDEN / "state_zip.pth")
    path = tmp_path / "changed.pth"
    path.write_bytes(zip_of({n: change(n, source.read(n)) for n in source.namelist()}))
    return path


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(sentinel):
    """(name in the refusal, pickle): each makes the file `sentinel` when it is run."""
    touch = f"open({str(sentinel)!r}, 'w')"
    shell = f"touch {sentinel}"
    yield "posix.system", pickle.dumps({"w": Calls(os.system, shell)}, 2)
    yield "posix.system", pickle.dumps({"w": Calls(os.system, shell)}, 4)
    yield "builtins.eval", pickle.dumps(Calls(builtins.eval, touch), 4)
    yield "builtins.exec", pickle.dumps(Calls(builtins.exec, touch), 4)
    yield (
        "builtins.getattr",
        pickle.dumps(Calls(Calls(getattr, os, "system") and getattr, 1, "x"), 4),
    )
    # Nested: an allowed call whose argument is a forbidden one.
    body = b"\x80\x02ccollections\nOrderedDict\n(cposix\nsystem\nX"
    body += struct.pack("<I", len(shell)) + shell.encode() + b"\x85RtR."
    yield "posix.system", body
    # An attribute chain behind an allowed module, by the dotted names of protocol 4.
    for module, name in (
        ("collections", "OrderedDict.__init__.__globals__"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch", "os.system"),
        ("torch.serialization", "_get_layout"),
        ("builtins", "__import__"),
    ):
        body = b"\x80\x04" + b"".join(
            b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name)
        )
        yield f"{module}.{name}", body + b"\x93)R."
    # Other opcodes that make objects.
    text = b"X" + struct.pack("<I", len(shell)) + shell.encode()
    yield "posix.system", b"(" + text[:0] + b"S'" + shell.encode() + b"'\niposix\nsystem\n."
    yield "posix.system", b"\x80\x02(cposix\nsystem\n" + text + b"o."
    yield "subprocess.Popen", b"\x80\x02csubprocess\nPopen\n" + text + b"\x85\x81."
    yield "EXT1", b"\x80\x02\x82\x01."
    yield "PERSID", b"Pid\n."


@pytest.mark.parametrize("container", ["stream", "zip"])
def test_hostile_pickles_are_refused_and_not_run(container, tmp_path):
    sentinel, path = tmp_path / "ran", tmp_path / "bad.pth"
    count = 0
    for name, body in hostile(sentinel):
        whole = stream_of(body) if container == "stream" else zip_of({"a/data.pkl": body})
        path.write_bytes(whole)
        with pytest.raises(UserError) as caught:
            torch_file.read_state_dict(path)
        assert name in str(caught.value) and "bad.pth" in str(caught.value)
        assert not sentinel.exists(), name
        count += 1
    assert count == 16


def test_the_hostile_pickles_do_run_in_pickle(tmp_path):
    """The sentinel proves something: Python's own loader does make the file."""
    sentinel = tmp_path / "ran"
    body = next(iter(hostile(sentinel)))[1]
    pickle.loads(body)
    assert sentinel.exists()


def test_calling_and_filling_what_is_not_allowed(tmp_path):
    path = tmp_path / "bad.pth"
    storage = b"\x80\x02ctorch\nFloatStorage\n"
    for body, message in (
        (storage + b")R.", "calls torch.FloatStorage"),
        (b"\x80\x02K\x01)R.", "calls a int"),
        # A state for the class itself: would change attributes of a function.
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}b.", "fills torch._utils"),
        (b"\x80\x02}(K\x01K\x02\x86K\x03u.", "as a key"),
        (b"\x80\x02}q\x00h\x07.", "KeyError"),
        (b"\x80\x02K\x01t.", "unmatched mark"),
    ):
        path.write_bytes(zip_of({"a/data.pkl": body}))
        with pytest.raises(UserError, match=message):
            torch_file.read_state_dict(path)


def tensor_pickle(
    offset, size, stride, count=4, key="0", kind="FloatStorage", names=("w",), memo=False
):
    """A state dict {name: tensor} over a storage of `count` values, in opcodes.

    With `memo` the tensor is described once and remembered.
    """

    def number(n):
        return b"\x8a\x08" + struct.pack("<q", n)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    def text(t):
        return b"X" + struct.pack("<I", len(t)) + t.encode()

    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    storage += number(count) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
    tensor += number(offset) + numbers(size) + numbers(stride) + b"\x89}tR"
    body = b"\x80\x02}"
    for i, name in enumerate(names):
        body += text(name) + (b"h\x01" if memo and i else tensor + b"q\x01") + b"s"
    return body + b"."


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((1, (4,), (1,)), "outside its storage"),
        ((0, (2, 2), (3, 2)), "outside its storage"),
        ((-1, (2,), (1,)), "wrongly"),
        ((0, (2,), (-1,)), "wrongly"),
        ((0, (2, 2), (1,)), "wrongly"),
        ((0, (2**40,), (0,)), "repeats"),
        ((0, (4,), (1,), 5), "does not hold 5 values"),
        ((0, (4,), (1,), 4, "../../etc/passwd"), "names the storage"),
        ((0, (4,), (1,), 4, "0", "QUInt8Storage"), "torch.QUInt8Storage"),
    ],
)
def test_views_that_lie(arguments, message, tmp_path):
    path = tmp_path / "view.pth"
    values = np.arange(4, dtype="<f4")
    good = {"a/data.pkl": tensor_pickle(1, (3,), (1,)), "a/data/0": values.tobytes()}
    path.write_bytes(zip_of(good))
    np.testing.assert_array_equal(torch_file.read_state_dict(path)["w"], values[1:])
    path.write_bytes(zip_of(good | {"a/data.pkl": tensor_pickle(*arguments)}))
    with pytest.raises(UserError, match=message):
        torch_file.read_state_dict(path)


def names(count):
    return [f"layer{i}.weight" for i in range(count)]


def repeated(count, size):
    """One value seen `size` times by each of `count` tensors."""
    body = tensor_pickle(0, (size,), (0,), 1, names=names(count), memo=True)
    return zip_of({"a/data.pkl": body, "a/data/0": b"\0\0\x80?"})


def shared(count, size):
    """`count` views of one storage of `size` values."""
    body = tensor_pickle(0, (size,), (1,), size, names=names(count), memo=True)
    return zip_of({"a/data.pkl": body, "a/data/0": bytes(4 * size)})


@pytest.mark.parametrize("whole", [repeated(10, 2**24), shared(3000, 2**14)])
def test_many_tensors_cannot_ask_for_more_than_the_file_explains(whole, tmp_path, monkeypatch):
    path = tmp_path / "bomb.pth"
    path.write_bytes(whole)
    # Refused by what is written of the tensors, before anything is copied.
    monkeypatch.setattr(torch_file, "_strided", None)
    with pytest.raises(UserError, match="bomb.pth: with tensor 'layer.* it repeats its values"):
        torch_file.read_state_dict(path)


def test_as_much_as_the_file_explains_is_read(tmp_path, monkeypatch):
    path = tmp_path / "views.pth"
    monkeypatch.setattr(torch_file, "_LARGEST_EXPANSION", 4000)
    path.write_bytes(repeated(10, 100))
    state = torch_file.read_state_dict(path)
    assert len(state) == 10 and all((v == 1).all() and v.shape == (100,) for v in state.values())
    path.write_bytes(repeated(20, 100))
    with pytest.raises(UserError, match="it repeats its values to"):
        torch_file.read_state_dict(path)


def test_no_memory_is_a_users_error(tmp_path, monkeypatch):
    def no_memory(*arguments):
        raise MemoryError

    monkeypatch.setattr(torch_file, "_strided", no_memory)
    path = tmp_path / "large.pth"
    path.write_bytes(repeated(1, 4))
    with pytest.raises(UserError, match="large.pth: this machine has not the memory"):
        torch_file.read_state_dict(path)


def ordered_dicts(pairs, calls):
    """A list of pairs, as Python 2 writes an ordered dict, given to the call again and again."""
    listed = b"](" + b"".join(b"M" + struct.pack("<H", i) + b"K\x00\x86" for i in range(pairs))
    listed += b"eq\x010"
    return b"\x80\x02" + listed + calls * b"ccollections\nOrderedDict\nh\x01\x85R0" + b"}."


def test_a_remembered_list_cannot_fill_dict_after_dict(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        torch_file.Machine, "_op_pop", lambda machine, _: sizes.append(len(machine.stack.pop()))
    )
    path = tmp_path / "quadratic.pth"
    path.write_bytes(zip_of({"a/data.pkl": ordered_dicts(20_000, 700)}))
    with pytest.raises(UserError, match="more pairs than it has bytes"):
        torch_file.read_state_dict(path)
    assert sum(sizes) < 200_000
    # Once is what an honest file does, however short its pairs are.
    path.write_bytes(zip_of({"a/data.pkl": ordered_dicts(20_000, 1)}))
    assert torch_file.read_state_dict(path) == {}
    # Nor does a long argument list of nothing.
    body = b"\x80\x02ccollections\nOrderedDict\n(" + b"]" * 50 + b"tR."
    path.write_bytes(zip_of({"a/data.pkl": body}))
    with pytest.raises(UserError, match="calls collections.OrderedDict"):
        torch_file.read_state_dict(path)
