"""Writes pickles as the official code does, without that code: for changed and hostile files.

Stand-ins for the official classes are put in `sys.modules` only while a file is written.
"""

import contextlib
import io
import pickle
import struct
import sys
import types

import numpy as np

_STORAGE_TYPES = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage"}


class Call:
    """Pickled as the call of a dotted name with arguments."""

    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments

    def __reduce__(self):
        return _stand_in(self.name), self.arguments


class Network:
    """Pickled as an instance of `dnnlib.tflib.network.Network` with a state."""

    def __init__(self, **state):
        self.__dict__.update(state)


class EarlyNetwork(Network):
    """Pickled as an instance of `tfutil.Network`."""


Network.__module__, Network.__qualname__ = "dnnlib.tflib.network", "Network"
EarlyNetwork.__module__, EarlyNetwork.__qualname__ = "tfutil", "Network"
_known = {"dnnlib.tflib.network.Network": Network, "tfutil.Network": EarlyNetwork}


def _stand_in(name):
    """A function that pickles as the dotted name."""
    if name not in _known:

        def function(*_arguments):
            raise AssertionError(f"{name} was called")

        function.__module__, _, function.__qualname__ = name.rpartition(".")
        function.__name__ = function.__qualname__
        _known[name] = function
    return _known[name]


@contextlib.contextmanager
def _pretended():
    """Makes every stand-in importable under its name."""
    before = dict(sys.modules)
    for name, value in _known.items():
        module, _, attribute = name.rpartition(".")
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            if ".".join(parts[:i]) not in sys.modules:
                sys.modules[".".join(parts[:i])] = types.ModuleType(".".join(parts[:i]))
        setattr(sys.modules[module], attribute, value)
    try:
        yield
    finally:
        for name in set(sys.modules) - set(before):
            del sys.modules[name]


def dumps(value, protocol=4):
    """The pickle of a value made of plain Python, arrays, `Call`s and `Network`s."""
    while True:  # each round meets more names
        met = len(_known)
        with _pretended():
            try:
                return pickle.dumps(value, protocol)
            except pickle.PicklingError:
                if len(_known) == met:
                    raise


class _StoragePickler(pickle.Pickler):
    def __init__(self, file, cls, count):
        super().__init__(file, 2)
        self.cls, self.count = cls, count

    def persistent_id(self, value):
        if value == "the storage":
            return ("storage", self.cls, "7", "cpu", self.count, None)
        return None


def storage_bytes(array, count=None):
    """`torch.save(storage)` without a zip."""
    array = np.ascontiguousarray(array)
    cls = _stand_in(f"torch.{_STORAGE_TYPES[array.dtype.str[1:]]}")
    count = array.size if count is None else count
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    described = io.BytesIO()
    with _pretended():
        _StoragePickler(described, cls, count).dump("the storage")
    head = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, system)]
    keys = pickle.dumps(["7"], 2)
    return b"".join([*head, described.getvalue(), keys, struct.pack("<q", count), array.tobytes()])


def tensor(array, size=None, stride=None):
    """A torch tensor."""
    array = np.asarray(array)
    steps = np.cumprod((1, *array.shape[::-1]))[:-1][::-1]
    storage = Call("torch.storage._load_from_bytes", storage_bytes(array))
    size = tuple(map(int, array.shape)) if size is None else size
    stride = tuple(map(int, steps)) if stride is None else stride
    return Call("torch._utils._rebuild_tensor_v2", storage, 0, size, stride, False, {})


def module(class_name, values, init_kwargs, module_src="", children=None):
    """A persistent module; dotted names of `values` become modules inside it."""
    own = {name: tensor(v) for name, v in values.items() if "." not in name}
    inner = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
    parts = {name: module("Layer", v, {}) for name, v in inner.items()} | (children or {})
    state = {
        "training": False,
        "_parameters": own,
        "_buffers": {},
        "_modules": parts,
        "_init_args": (),
        "_init_kwargs": init_kwargs,
    }
    meta = {"type": "class", "version": 6, "module_src": module_src}
    meta |= {"class_name": class_name, "state": state}
    return Call("torch_utils.persistence._reconstruct_persistent_obj", meta)


def torch_file(file, module_src=""):
    """The pickle of an `OfficialFile` of StyleGAN2-ADA (PyTorch)."""
    keys = {"generator": "G", "discriminator": "D", "generator_ema": "G_ema"}
    contents = {"training_set_kwargs": None, "augment_pipe": None}
    for role, key in keys.items():
        network = file.networks[role]
        contents[key] = module(network.kind, network.values, network.arguments, module_src)
    return dumps(contents)


def tf_network(official, make=Network):
    """A TensorFlow network; components are made of the names before a slash where G has them."""
    components, own = {}, []
    for name, value in official.values.items():
        head, _, rest = name.partition("/")
        if head in ("mapping", "synthesis"):
            components.setdefault(head, []).append((rest, value))
        else:
            own.append((name, value))
    common = {"version": 4, "build_module_src": "", "static_kwargs": {}, "components": {}}
    inner = {
        name: Network(**common | {"build_func_name": f"G_{name}", "variables": variables})
        for name, variables in components.items()
    }
    state = {"build_func_name": official.kind, "static_kwargs": official.arguments}
    return make(**common | state | {"components": inner, "variables": own})


def tf_file(file, protocol=4):
    """The pickle of an `OfficialFile` of TensorFlow."""
    roles = ("generator", "discriminator", "generator_ema")
    make = EarlyNetwork if file.format == "progan-tf" else Network
    return dumps(tuple(tf_network(file.networks[role], make) for role in roles), protocol)
