"""`--batching_parameters_file`: the text `BatchingParameters` of TensorFlow Serving.

The proto is not in the tensorflow-serving-api wheel, so its fields are declared here; only text
is ever read, and the field numbers do not matter for that.
"""

import dataclasses
import os
import pathlib

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from serving.command import UsageError

_WRAPPED = {
    "max_batch_size": "Int64Value",
    "batch_timeout_micros": "Int64Value",
    "max_enqueued_batches": "Int64Value",
    "num_batch_threads": "Int64Value",
    "thread_pool_name": "StringValue",
    "enable_large_batch_splitting": "BoolValue",
    "max_execution_batch_size": "Int64Value",
}


def _message_class():
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/batching_parameters.proto",
        package="serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    kind = descriptor_pb2.FieldDescriptorProto
    for number, (name, wrapper) in enumerate(_WRAPPED.items(), start=1):
        message.field.add(
            name=name,
            number=number,
            label=kind.LABEL_OPTIONAL,
            type=kind.TYPE_MESSAGE,
            type_name=f".google.protobuf.{wrapper}",
        )
    number = len(_WRAPPED) + 1
    message.field.add(
        name="allowed_batch_sizes",
        number=number,
        label=kind.LABEL_REPEATED,
        type=kind.TYPE_INT64,
    )
    message.field.add(
        name="pad_variable_length_inputs",
        number=number + 1,
        label=kind.LABEL_OPTIONAL,
        type=kind.TYPE_BOOL,
    )
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.BatchingParameters"))


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """How concurrent requests are joined; the defaults are the real server's.

    Attributes:
      max_batch_size: the most rows of one request; larger ones are refused.
      batch_timeout_micros: how long a request waits for company, in microseconds.
      max_enqueued_batches: a full queue answers UNAVAILABLE.
      num_batch_threads: batches that may run at once.
      allowed_batch_sizes: batches are padded up to one of these; empty for no padding.
      enable_large_batch_splitting: cut large requests to `max_execution_batch_size`.
      max_execution_batch_size: the most rows run at once; 0 is `max_batch_size`.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    def __post_init__(self):
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.batch_timeout_micros < 0:
            raise UsageError(f"batch_timeout_micros is {self.batch_timeout_micros}, expected >= 0")
        largest = self.largest_run
        if not 1 <= largest <= self.max_batch_size:
            raise UsageError(
                f"max_execution_batch_size is {largest}, expected 1..{self.max_batch_size} "
                "(max_batch_size)"
            )
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != largest):
            raise UsageError(
                f"allowed_batch_sizes is {list(sizes)}, expected ascending sizes ending in "
                f"{largest}, the largest batch that runs"
            )

    @property
    def largest_run(self) -> int:
        """The most rows that run at once."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return self.max_execution_batch_size
        return self.max_batch_size

    def function_arguments(self) -> dict:
        """The keyword arguments of `tf.nondifferentiable_batch_function`."""
        sizes = self.allowed_batch_sizes
        if not sizes and self.largest_run < self.max_batch_size:
            # The op learns its largest run from the last allowed size and from nothing else.
            sizes = tuple(2**k for k in range((self.largest_run - 1).bit_length()))
            sizes += (self.largest_run,)
        return {
            "num_batch_threads": self.num_batch_threads,
            "max_batch_size": self.max_batch_size,
            "batch_timeout_micros": self.batch_timeout_micros,
            "allowed_batch_sizes": list(sizes) or None,
            "max_enqueued_batches": self.max_enqueued_batches,
            "enable_large_batch_splitting": self.enable_large_batch_splitting,
        }


def read(path: str) -> BatchingParameters:
    """Reads a text `BatchingParameters` file.

    Raises:
      UsageError: if the file cannot be read or understood; names the file and the field.
    """
    message = _message_class()()
    try:
        text_format.Parse(pathlib.Path(path).read_text(), message)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--batching_parameters_file: cannot read {path}: {error}") from error
    except text_format.ParseError as error:
        raise UsageError(
            f"--batching_parameters_file: {path} is not a text BatchingParameters: {error}"
        ) from error
    if message.pad_variable_length_inputs:
        raise UsageError(
            f"--batching_parameters_file: {path}: pad_variable_length_inputs is not supported by "
            "this server"
        )
    values = {
        name: getattr(message, name).value
        for name in _WRAPPED
        if name != "thread_pool_name" and message.HasField(name)
    }
    try:
        return BatchingParameters(allowed_batch_sizes=tuple(message.allowed_batch_sizes), **values)
    except UsageError as error:
        raise UsageError(f"--batching_parameters_file: {path}: {error}") from error
