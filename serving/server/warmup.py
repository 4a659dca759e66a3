"""Warm-up records: requests run while a version loads, so that the first real one is not slow.

`VERSION/assets.extra/tf_serving_warmup_requests` is a TFRecord file of
`tensorflow.serving.PredictionLog`. As in TensorFlow Serving, any error in it fails the load.
"""

import pathlib

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from serving.server import errors, predict
from serving.server.servable import Servable

FILE = "assets.extra/tf_serving_warmup_requests"
MOST_RECORDS = 1000


def run(servable: Servable, path: pathlib.Path, iterations: int = 1) -> int:
    """Replays the warm-up records of a version.

    Args:
      servable: the version, loaded.
      path: its directory; having no warm-up file is fine.
      iterations: how often each record is run.

    Returns:
      How many records there were.

    Raises:
      ServingError: if the file is damaged, holds too many records or a request that fails.
    """
    file = path / FILE
    if not file.exists():
        return 0
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            count += 1
            if count > MOST_RECORDS:
                raise errors.invalid(
                    f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {file}"
                )
            _replay(servable, record, iterations)
    except tf.errors.OpError as error:
        failure = errors.from_tensorflow(error)
        message = f"Please verify your warmup data is in TFRecord format: {failure.message}"
        raise errors.ServingError(failure.code, message) from error
    except errors.ServingError as error:
        raise errors.ServingError(
            error.code, f"warm-up record {count} of {file}: {error.message}"
        ) from error
    return count


def _replay(servable: Servable, record: bytes, iterations: int) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise errors.invalid("Failed to parse warmup record: not a PredictionLog") from error
    kind = log.WhichOneof("log_type")
    if kind != "predict_log":
        raise errors.ServingError("UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}")
    for _ in range(iterations):
        predict.run(servable, log.predict_log.request)
