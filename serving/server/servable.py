"""One loaded version of a model: its signatures, and `predict`."""

import itertools
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.server import errors
from serving.server.batching import BatchingParameters
from serving.server.signature import PREDICT, Signature, not_found

_unique = itertools.count()


class Servable:
    """A SavedModel in memory.

    Args:
      path: the version's directory, holding `saved_model.pb` and `variables/`.
      tags: which meta graph to load.
      batching: join concurrent requests of one signature; None runs each alone.

    Raises:
      ServingError: NOT_FOUND if there is no SavedModel or no such meta graph; otherwise the code
        of the TensorFlow error met while loading.

    Attributes:
      metadata: the `SignatureDefMap` that GetModelMetadata returns.
      signatures: name -> `Signature`, those that can be called by Predict.
    """

    def __init__(
        self,
        path: pathlib.Path,
        tags: tuple[str, ...] = ("serve",),
        batching: BatchingParameters | None = None,
    ):
        self.metadata = _read_signatures(path, tags)
        try:
            # The object owns the variables: signatures alone do not keep them alive.
            self._model = tf.saved_model.load(str(path), tags=list(tags))
        except tf.errors.OpError as error:
            raise errors.from_tensorflow(error) from error
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise errors.ServingError("UNKNOWN", f"cannot load {path}: {error}") from error
        self.signatures = {
            name: Signature.from_proto(name, proto)
            for name, proto in self.metadata.signature_def.items()
            if name in self._model.signatures and proto.method_name in ("", PREDICT)
        }
        self._functions = {name: self._model.signatures[name] for name in self.signatures}
        if batching is not None:
            for name, signature in self.signatures.items():
                if signature.batchable:
                    self._functions[name] = _batched(self._functions[name], signature, batching)

    def signature(self, name: str) -> Signature:
        """The signature of this name.

        Raises:
          ServingError: FAILED_PRECONDITION if there is none.
        """
        if name not in self.signatures:
            raise not_found(name)
        return self.signatures[name]

    def predict(self, signature: Signature, inputs: Mapping[str, np.ndarray]) -> dict:
        """Runs a signature on inputs that passed its checks.

        Args:
          signature: one of `self.signatures`.
          inputs: input alias -> array; those left out take their default.

        Returns:
          Output alias -> array.

        Raises:
          ServingError: what went wrong in the graph, with TensorFlow's own code.
        """
        values = {
            name: tf.constant(inputs.get(name, field.default), field.dtype)
            for name, field in signature.inputs.items()
        }
        try:
            outputs = self._functions[signature.name](**values)
            return {name: np.asarray(value.numpy()) for name, value in outputs.items()}
        except tf.errors.OpError as error:
            raise errors.from_tensorflow(error) from error


def _read_signatures(path: pathlib.Path, tags) -> get_model_metadata_pb2.SignatureDefMap:
    file = path / "saved_model.pb"
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except OSError as error:
        raise errors.not_found(
            f"Could not find SavedModel .pb at supplied export directory path: {path}"
        ) from error
    except Exception as error:  # protobuf's DecodeError differs between its implementations
        raise errors.ServingError("DATA_LOSS", f"Can't parse {file} as binary proto") from error
    for graph in saved_model.meta_graphs:
        if set(graph.meta_info_def.tags) == set(tags):
            return get_model_metadata_pb2.SignatureDefMap(signature_def=graph.signature_def)
    found = "; ".join(",".join(graph.meta_info_def.tags) for graph in saved_model.meta_graphs)
    raise errors.not_found(
        "Could not find meta graph def matching supplied tags: "
        f"{{ {' '.join(tags)} }}; {path} has {{ {found} }}"
    )


def _batched(function, signature: Signature, batching: BatchingParameters):
    """Wraps a signature so that concurrent calls run as one, by TensorFlow's own batch scheduler.

    It is the scheduler of TensorFlow Serving, as the op `BatchFunction`: requests wait up to
    `batch_timeout_micros`, are joined on dimension 0, padded to an allowed size, run once and cut
    apart again.
    """
    names = sorted(signature.inputs)
    outputs = sorted(signature.outputs)
    specs = [
        tf.TensorSpec(signature.inputs[name].shape, signature.inputs[name].dtype) for name in names
    ]

    # The queue's name is the name scope; without a scope of its own two signatures would share
    # one queue.
    scope = f"batch_queue_{next(_unique)}"

    @tf.function(input_signature=specs, autograph=False)
    def call(*values):
        with tf.name_scope(scope):

            @tf.nondifferentiable_batch_function(autograph=False, **batching.function_arguments())
            def run(*rows):
                results = function(**dict(zip(names, rows, strict=True)))
                return [results[name] for name in outputs]

            return run(*values)

    call.get_concrete_function()

    def batched(**values):
        results = call(*[values[name] for name in names])
        return dict(zip(outputs, results, strict=True))

    return batched
