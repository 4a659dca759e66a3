"""The Inception graph as a `.pb`: the same weights as the `.pth`, and nothing of it is run."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2

from ganpipe.errors import UserError
from ganpipe.metrics import choice
from ganpipe.metrics.extractors import frozen_graph, inception


def constant(graph, name, value, short=False):
    node = graph.node.add(op="Const", name=name)
    proto = tf.make_tensor_proto(value)
    if short:  # one value stands for all, as TensorFlow writes equal ones
        proto.tensor_content = b""
        proto.float_val.append(float(np.ravel(value)[0]))
    node.attr["value"].tensor.CopyFrom(proto)
    node.attr["dtype"].type = proto.dtype


def as_graph(state):
    """A graph with the constants of a state dict, as the published one has them, and operations."""
    graph = graph_pb2.GraphDef()
    graph.node.add(op="Placeholder", name="input")
    graph.node.add(op="ReadFile", name="evil", input=["/etc/passwd"])
    for scope, name in frozen_graph.inception_names().items():
        kernel = state[f"{name}.conv.weight"].transpose(2, 3, 1, 0)
        constant(graph, f"{scope}/conv2d_params", kernel)
        for theirs, ours in frozen_graph._NORM.items():
            value = state[f"{name}.bn.{ours}"]
            short = bool((value == value[0]).all())
            constant(graph, f"{scope}/batchnorm/{theirs}", value, short)
        graph.node.add(op="Conv2D", name=f"{scope}/Conv2D")
    constant(graph, "softmax/weights", state["fc.weight"].T)
    constant(graph, "softmax/biases", state["fc.bias"])
    constant(graph, "pool_3/_reshape/shape", np.array([1, 2048], np.int32))
    return graph


@pytest.fixture(scope="module")
def state(recipe, golden):
    state = recipe.state(golden("inception")[1]["shapes"])
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    state["Conv2d_1a_3x3.bn.weight"] = np.ones_like(state["Conv2d_1a_3x3.bn.weight"])
    return state


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "classify_image_graph_def.pb"
    path.write_bytes(as_graph(state).SerializeToString())
    return path


def test_all_94_convolutions_have_a_name():
    names = frozen_graph.inception_names()
    assert len(names) == len(set(names.values())) == 94
    expected = {n.removesuffix(".conv.weight") for n in inception.state_shapes() if ".conv." in n}
    assert set(names.values()) == expected
    # Some of the published graph's own names, from its listing.
    assert names["conv_4"] == "Conv2d_4a_3x3"
    assert names["mixed/tower/conv_1"] == "Mixed_5b.branch5x5_2"
    assert names["mixed_4/tower_1/conv_4"] == "Mixed_6b.branch7x7dbl_5"
    assert names["mixed_8/tower_1/conv_3"] == "Mixed_7a.branch7x7x3_4"
    assert names["mixed_10/tower_1/mixed/conv_1"] == "Mixed_7c.branch3x3dbl_3b"
    assert names["mixed_9/tower_2/conv"] == "Mixed_7b.branch_pool"
    assert "mixed_3/tower_2/conv" not in names and "mixed_8/conv" not in names


def test_the_weights_are_those_of_the_pth(state, file):
    constants, digest = frozen_graph.read_constants(file)
    found = frozen_graph.inception_state(constants)
    assert found.keys() == state.keys() and len(digest) == 64
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == np.float32


def test_the_extractor_says_it_is_not_the_published_file(file, monkeypatch):
    seen = {}
    monkeypatch.setattr(inception, "from_state", lambda state, digest, **how: seen.update(how))
    inception.load(str(file))
    assert seen["published"] is False
    assert choice.parts(f"inception:{file}") == ("inception", str(file))
    choice.check_file(f"inception:{file}")


def test_another_graph(tmp_path, state):
    graph = as_graph(state)
    del graph.node[[n.name for n in graph.node].index("mixed_5/conv/conv2d_params")]
    path = tmp_path / "other.pb"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(UserError, match="no constant 'mixed_5/conv/conv2d_params'"):
        inception.load(path)


def test_what_is_no_graph(tmp_path):
    path = tmp_path / "x.pb"
    path.write_bytes(b"\x80\x02 no graph at all \xff\xff")
    with pytest.raises(UserError, match="no frozen TensorFlow graph|holds no constants"):
        frozen_graph.read_constants(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="holds no constants"):
        frozen_graph.read_constants(path)
    with pytest.raises(UserError, match="no such file"):
        frozen_graph.read_constants(tmp_path / "no.pb")
    with pytest.raises(UserError, match="SHA-256"):
        frozen_graph.read_constants(path, "0" * 8)


@pytest.mark.parametrize("shape", [(3, 3), (10**9, 10**9), (-1, 2)])
def test_a_constant_that_claims_more_than_it_holds(tmp_path, shape):
    graph = graph_pb2.GraphDef()
    constant(graph, "c", np.zeros((2, 2), np.float32))
    proto = graph.node[0].attr["value"].tensor
    for dim, size in zip(proto.tensor_shape.dim, shape, strict=True):
        dim.size = size
    for content in (proto.tensor_content, b""):
        proto.tensor_content = content
        if not content:
            proto.float_val.extend([1.0, 2.0])
        path = tmp_path / "c.pb"
        path.write_bytes(graph.SerializeToString())
        with pytest.raises(UserError, match="constant 'c'"):
            frozen_graph.read_constants(path)


def test_a_short_constant_does_not_fill_the_memory(tmp_path):
    graph = graph_pb2.GraphDef()
    constant(graph, "c", np.zeros((2, 2), np.float32), short=True)
    for dim in graph.node[0].attr["value"].tensor.tensor_shape.dim:
        dim.size = 10**9
    path = tmp_path / "c.pb"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(UserError, match="constant 'c'"):
        frozen_graph.read_constants(path)


@pytest.mark.parametrize("spec", ["incepton", "pixels:x.pb", "auto:x", "inception:"])
def test_extractor_specs_that_cannot_be(spec):
    with pytest.raises(UserError, match="--extractor="):
        choice.parts(spec)
