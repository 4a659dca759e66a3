"""Serve exported models over TensorFlow Serving's gRPC and REST API, from Python.

One model; every numbered directory below the base path is a version, the highest is served:

  python -m serving.server --model_name=dcgan --model_base_path=/abs/export/dcgan \
      --port=8500 --rest_api_port=8501

Several models, version policies and labels (see serving/config/models.config):

  python -m serving.server --model_config_file=models.config --rest_api_port=8501

The ports open once every model has a version; then a line `ready: ...` is printed. A new version
that is renamed into the base path is loaded and takes over; Ctrl-C or SIGTERM stops the server.
Flags are those of tensorflow_model_server; docs/serving.md lists the differences.
"""

import logging
import os
import pathlib
import signal
import sys
import threading

from serving import command
from serving.command import UsageError
from serving.server.flags import FLAGS, check, grpc_options

log = logging.getLogger("serving.server")


def main(args: list[str]) -> int:
    """Serves until SIGTERM or SIGINT; returns 0, or 1 if no version could be loaded."""
    without_effect = check(args)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    for name in without_effect:
        log.warning("--%s has no effect in this embedded server", name)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return _serve(stop)


def _serve(stop: threading.Event) -> int:
    # Ports before TensorFlow: a taken one is told at once, not after seconds of importing.
    from serving.server import net

    held = {}
    for flag, port in (("--port", FLAGS.port), ("--rest_api_port", FLAGS.rest_api_port)):
        if port:
            held[flag] = net.reserve(FLAGS.host, port, flag)

    # Late, because it takes seconds and `--help` needs none of it.
    from serving.server.app import ModelServer
    from serving.server.errors import ServingError

    models, options = _models(), _options()
    _set_parallelism()
    for model in models:
        _announce(model)
    try:
        server = ModelServer(models, options, held)
    except ServingError as error:
        raise UsageError(error.message) from error
    failure: list[Exception] = []

    def start() -> None:
        try:
            if server.start():
                print(f"ready: {server.describe()}", file=sys.stderr, flush=True)
        except Exception as error:
            failure.append(error)
            stop.set()

    # The main thread only waits, so that a signal is answered during a long load too.
    threading.Thread(target=start, name="start", daemon=True).start()
    stop.wait()
    log.info("stopping")
    server.stop()
    if failure and isinstance(failure[0], UsageError):
        raise failure[0]
    if failure:
        print(f"error: {failure[0]}", file=sys.stderr)
    return 1 if failure else 0


def _main_and_leave(args: list[str]) -> None:
    status = main(args)
    sys.stderr.flush()
    sys.stdout.flush()
    # A load or a prediction that is still running would hold up a normal exit.
    os._exit(status)


def _models() -> list:
    from serving.server import config
    from serving.server.errors import ServingError

    if not FLAGS.model_config_file:
        return [config.ModelConfig(FLAGS.model_name, FLAGS.model_base_path)]
    try:
        models = config.read(FLAGS.model_config_file)
    except ServingError as error:
        raise UsageError(f"--model_config_file: {error.message}") from error
    for model in models:
        if not pathlib.Path(model.base_path).is_dir():
            raise UsageError(
                f"--model_config_file: base_path {model.base_path} of model {model.name}: "
                "no such directory"
            )
    return models


def _options():
    from serving.server import batching
    from serving.server.app import ServerOptions
    from serving.server.manager import LoadOptions

    parameters = None
    if FLAGS.enable_batching:
        parameters = batching.BatchingParameters()
        if FLAGS.batching_parameters_file:
            parameters = batching.read(FLAGS.batching_parameters_file)
    iterations = max(1, FLAGS.num_request_iterations_for_warmup)
    load = LoadOptions(
        poll_seconds=FLAGS.file_system_poll_wait_seconds,
        max_retries=FLAGS.max_num_load_retries,
        retry_seconds=FLAGS.load_retry_interval_micros / 1e6,
        warmup_iterations=iterations if FLAGS.enable_model_warmup else 0,
        tags=tuple(FLAGS.saved_model_tags.split(",")),
        batching=parameters,
        labels_for_unavailable=FLAGS.allow_version_labels_for_unavailable_models,
    )
    threads = {}
    if FLAGS.grpc_max_threads:
        threads["grpc_threads"] = FLAGS.grpc_max_threads
    if FLAGS.rest_api_num_threads:
        threads["rest_threads"] = FLAGS.rest_api_num_threads
    return ServerOptions(
        port=FLAGS.port,
        rest_api_port=FLAGS.rest_api_port,
        host=FLAGS.host,
        rest_timeout=FLAGS.rest_api_timeout_in_ms / 1000,
        cors=FLAGS.rest_api_enable_cors_support,
        max_rows=FLAGS.max_rows_per_request,
        as_content=FLAGS.enable_serialization_as_tensor_content,
        config_file=FLAGS.model_config_file or None,
        config_poll_seconds=FLAGS.model_config_file_poll_wait_seconds,
        grpc_options=grpc_options(),
        load=load,
        **threads,
    )


def _set_parallelism() -> None:
    import tensorflow as tf

    both = FLAGS.tensorflow_session_parallelism
    if intra := both or FLAGS.tensorflow_intra_op_parallelism:
        tf.config.threading.set_intra_op_parallelism_threads(intra)
    if inter := both or FLAGS.tensorflow_inter_op_parallelism:
        tf.config.threading.set_inter_op_parallelism_threads(inter)


def _announce(model) -> None:
    from serving.server.versions import on_disk

    found = model.wanted(list(on_disk(pathlib.Path(model.base_path))))
    if found:
        log.info("loading %s versions %s from %s", model.name, found, model.base_path)
    else:
        log.warning(
            "%s has no version to serve yet (a directory with a number for a name); waiting for "
            "one, the ports stay closed until then",
            model.base_path,
        )


if __name__ == "__main__":
    command.run(_main_and_leave, FLAGS)
