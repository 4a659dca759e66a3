"""The command line: flags of `tensorflow_model_server`, checked without importing TensorFlow."""

import pathlib

from absl import flags

from serving.command import UsageError

FLAGS = flags.FlagValues()


def _define(kind, name: str, default, text: str, **bounds) -> None:
    kind(name, default, text, flag_values=FLAGS, **bounds)


_PORT = {"lower_bound": 0, "upper_bound": 65535}
_define(flags.DEFINE_integer, "port", 8500, "gRPC port; 0 for no gRPC.", **_PORT)
_define(flags.DEFINE_integer, "rest_api_port", 0, "REST port; 0 for no REST.", **_PORT)
_define(
    flags.DEFINE_string,
    "host",
    "127.0.0.1",
    "Address to bind (not a flag of the real server, which binds 0.0.0.0). The API has no login: "
    "open it to other machines only on a network you trust.",
)
_define(flags.DEFINE_string, "model_name", "default", "What requests call the model.")
_define(
    flags.DEFINE_string,
    "model_base_path",
    "",
    "Absolute path of the directory that holds the numbered versions (1/, 2/, ...).",
)
_define(
    flags.DEFINE_string,
    "model_config_file",
    "",
    "Text ModelServerConfig naming several models; --model_name and --model_base_path are then "
    "not looked at.",
)
_define(
    flags.DEFINE_float,
    "model_config_file_poll_wait_seconds",
    0,
    "Re-read --model_config_file this often; 0 reads it once.",
    lower_bound=0,
)
_define(
    flags.DEFINE_float,
    "file_system_poll_wait_seconds",
    1,
    "Look for new and removed versions this often; 0 looks once.",
    lower_bound=0,
)
_define(
    flags.DEFINE_integer,
    "max_num_load_retries",
    5,
    "How often a version that fails to load is tried again before it is given up.",
    lower_bound=0,
)
_define(
    flags.DEFINE_integer,
    "load_retry_interval_micros",
    60_000_000,
    "Microseconds between two tries.",
    lower_bound=0,
)
_define(
    flags.DEFINE_bool, "enable_model_warmup", True, "Replay a version's warm-up records on load."
)
_define(
    flags.DEFINE_integer,
    "num_request_iterations_for_warmup",
    0,
    "How often each warm-up record runs; 0 is once.",
    lower_bound=0,
)
_define(flags.DEFINE_string, "saved_model_tags", "serve", "Tags of the meta graph, by comma.")
_define(
    flags.DEFINE_bool,
    "allow_version_labels_for_unavailable_models",
    False,
    "Accept labels of versions that are not loaded yet; labels in the start-up config need it.",
)
_define(flags.DEFINE_bool, "enable_batching", False, "Run concurrent requests together.")
_define(
    flags.DEFINE_string,
    "batching_parameters_file",
    "",
    "Text BatchingParameters; needs --enable_batching.",
)
_define(
    flags.DEFINE_integer,
    "rest_api_timeout_in_ms",
    30000,
    "A REST request that takes longer is answered 504.",
    lower_bound=1,
)
_define(
    flags.DEFINE_integer,
    "rest_api_num_threads",
    0,
    "REST requests that run at once; 0 is 4 per CPU.",
    lower_bound=0,
)
_define(
    flags.DEFINE_integer,
    "grpc_max_threads",
    0,
    "gRPC requests that run at once; 0 is 4 per CPU.",
    lower_bound=0,
)
_define(
    flags.DEFINE_string, "grpc_channel_arguments", "", "gRPC server arguments, key=value by comma."
)
_define(
    flags.DEFINE_bool,
    "rest_api_enable_cors_support",
    False,
    "Let browsers on other sites call the REST API.",
)
_define(
    flags.DEFINE_bool,
    "enable_serialization_as_tensor_content",
    True,
    "Answer gRPC with raw bytes in tensor_content; else with typed fields such as float_val. The "
    "real server's default is false; np/tf clients read both.",
)
_define(
    flags.DEFINE_integer,
    "max_rows_per_request",
    1024,
    "Larger requests are refused (not a flag of the real server); 0 for no bound.",
    lower_bound=0,
)
for _name, _what in (
    ("tensorflow_session_parallelism", "Threads inside and between ops; 0 is automatic."),
    ("tensorflow_intra_op_parallelism", "Threads inside an op; 0 is automatic."),
    ("tensorflow_inter_op_parallelism", "Threads between ops; 0 is automatic."),
):
    _define(flags.DEFINE_integer, _name, 0, _what, lower_bound=0)

# Flags of the real server that change nothing a caller of this one could notice.
HARMLESS = {
    "enable_profiler": flags.DEFINE_bool,
    "flush_filesystem_caches": flags.DEFINE_bool,
    "num_load_threads": flags.DEFINE_integer,
    "num_unload_threads": flags.DEFINE_integer,
    "per_process_gpu_memory_fraction": flags.DEFINE_float,
    "remove_unused_fields_from_bundle_metagraph": flags.DEFINE_bool,
    "enable_signature_method_name_check": flags.DEFINE_bool,
}
# Flags of the real server that ask for something this one does not have.
REFUSED = {
    "monitoring_config_file": (flags.DEFINE_string, "it has no Prometheus metrics"),
    "ssl_config_file": (flags.DEFINE_string, "it speaks no TLS; put a proxy in front"),
    "grpc_socket_path": (flags.DEFINE_string, "it listens on TCP only"),
    "enable_grpc_healthcheck_service": (flags.DEFINE_bool, "ask GetModelStatus instead"),
    "enable_per_model_batching_parameters": (flags.DEFINE_bool, "use --batching_parameters_file"),
    "tensorflow_session_config_file": (
        flags.DEFINE_string,
        "use the --tensorflow_*_parallelism flags",
    ),
    "xla_cpu_compilation_enabled": (flags.DEFINE_bool, "functions run as they were exported"),
    "xla_gpu_compilation_enabled": (flags.DEFINE_bool, "functions run as they were exported"),
    "prefer_tflite_model": (flags.DEFINE_bool, "it serves SavedModels only"),
}
for _name, _kind in HARMLESS.items():
    _define(_kind, _name, None, "Accepted; has no effect here.")
for _name, (_kind, _why) in REFUSED.items():
    _define(_kind, _name, None, f"Refused: {_why}.")


def check(positional: list[str]) -> list[str]:
    """Checks what can be checked before TensorFlow is imported.

    Returns:
      The names of harmless flags that were given and have no effect.

    Raises:
      UsageError: names the flag, what was found and what was expected.
    """
    if positional:
        raise UsageError(f"unexpected argument {positional[0]!r}: every setting is a --flag=value")
    for name, (_, why) in REFUSED.items():
        if FLAGS[name].value:
            raise UsageError(f"--{name} is not supported by this embedded server: {why}")
    if not FLAGS.port and not FLAGS.rest_api_port:
        raise UsageError("--port and --rest_api_port are both 0: nothing to serve on")
    if FLAGS.port == FLAGS.rest_api_port:
        raise UsageError(f"--port and --rest_api_port are both {FLAGS.port}; they must differ")
    if FLAGS.batching_parameters_file and not FLAGS.enable_batching:
        raise UsageError("--batching_parameters_file needs --enable_batching")
    if FLAGS.tensorflow_session_parallelism and (
        FLAGS.tensorflow_intra_op_parallelism or FLAGS.tensorflow_inter_op_parallelism
    ):
        raise UsageError(
            "--tensorflow_session_parallelism sets both --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism; give it alone, or those two"
        )
    grpc_options()
    if FLAGS.model_config_file:
        if not pathlib.Path(FLAGS.model_config_file).is_file():
            raise UsageError(f"--model_config_file={FLAGS.model_config_file}: no such file")
    else:
        _check_base_path(FLAGS.model_base_path)
    return [name for name in HARMLESS if FLAGS[name].value is not None]


def _check_base_path(text: str) -> None:
    if not text:
        raise UsageError(
            "--model_base_path is missing: the absolute path of the directory that holds the "
            "numbered versions (or use --model_config_file)"
        )
    if not FLAGS.model_name:
        raise UsageError("--model_name is empty: what shall requests call the model?")
    path = pathlib.Path(text)
    if not path.is_absolute():
        raise UsageError(
            f"--model_base_path={text} is not absolute; did you mean {path.resolve()}?"
        )
    if not path.is_dir():
        raise UsageError(f"--model_base_path={text}: no such directory")
    if (path / "saved_model.pb").exists():
        raise UsageError(
            f"--model_base_path={text} is itself a SavedModel; expected the directory above, "
            f"whose numbered directories are versions (perhaps {path.parent})"
        )


def grpc_options() -> tuple[tuple[str, object], ...]:
    """`--grpc_channel_arguments` as gRPC wants it; numbers become integers.

    Raises:
      UsageError: an entry is not key=value.
    """
    options: list[tuple[str, object]] = []
    for entry in filter(None, FLAGS.grpc_channel_arguments.split(",")):
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise UsageError(f"--grpc_channel_arguments: {entry!r} is not key=value")
        options.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return tuple(options)
