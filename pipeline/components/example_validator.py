"""ExampleValidator: what the statistics say that should stop a training, or at least be known.

Reads what StatisticsGen wrote, and with a baseline what it wrote for earlier data, and writes
`anomalies.pbtxt`, a standard tensorflow-metadata `Anomalies` proto, `schema.pbtxt`, the schema that
was kept to, and `statistics.html`, all of it on one page. Severity ERROR blocks, WARNING is told.

| check | blocks | warns |
| --- | --- | --- |
| a split is empty; there is no test split | empty | none there |
| size, channels, pairs, (map) classes or their order are not those of the schema | always | |
| a class has no images | train | other splits |
| a class has under a tenth of its fair share (1 % with ten classes) | | train |
| class mix of train and another split differs, largest share (L-infinity) | over 0.3 | over 0.1 |
| images of one single colour; all-black images | over 20 % | over 1 % |
| grey images in a colour set | | over 1 % |
| ids of label maps outside the class table | always | |
| copies within train; near-duplicates within train | | over 5 % |
| test images that are also in train | over half | over 1 % |
| test images that look the same as one in train | | over 1 % |
| against a baseline: number of training images | under half | under 0.8 |
| class mix, L-infinity | over 0.3 | over 0.1 |
| brightness, contrast: Jensen-Shannon divergence of the histograms | over 0.5 | over 0.1 |
| mean of a channel, in its standard deviations | over 1 | over 0.25 |

Bounds that warn of drift are read from the schema; what chance explains is allowed for (`drift`).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError
from pipeline.components import checks, drift, statistics_page
from pipeline.components.checks import Finding
from pipeline.components.schema import SCHEMA
from pipeline.components.statistics_gen import STATISTICS, write

ANOMALIES = "anomalies.pbtxt"


def run(
    stats_dir: str | Path,
    out_dir: str | Path,
    *,
    previous_schema: str | Path | None = None,
    baseline: str | Path | None = None,
    baseline_name: str = "",
) -> dict[str, Any]:
    """Validates the statistics of a data folder.

    Args:
      stats_dir: folder written by `statistics_gen.run`.
      out_dir: folder for what is written, made if need be; may be `stats_dir`.
      previous_schema: a `schema.pbtxt` (or the folder of one) that the data must keep to, for
        instance one edited by hand; that of the baseline if None, or else their own.
      baseline: what to compare with: a folder of `statistics_gen.run` or of this function over it
        (`FeatureStats.pb` and `schema.pbtxt`), or one of these files alone; nothing if None. With a
        schema alone nothing is known of earlier images, and drift is not looked for.
      baseline_name: what to call it in words; its path if empty.

    Returns:
      {"anomalies": [blocking, in words], "warnings": [others, in words], "baseline": its name or
      ""}: fit for training when the first list is empty.

    Raises:
      UserError: statistics, schema or baseline missing or unreadable.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    stats_dir, out = Path(stats_dir), Path(out_dir)
    earlier, its_schema = read_baseline(Path(baseline)) if baseline else (None, None)
    statistics = read_statistics(stats_dir / STATISTICS)
    if previous_schema:
        path = Path(previous_schema)
        schema = read_schema(path / SCHEMA if path.is_dir() else path)
    else:
        schema = its_schema or read_schema(stats_dir / SCHEMA)

    findings = list(check(statistics, schema, earlier))
    anomalies = anomalies_pb2.Anomalies(baseline=schema)
    for finding in findings:
        _add(anomalies, finding)
    out.mkdir(parents=True, exist_ok=True)
    name = (baseline_name or str(baseline)) if baseline else ""
    write(out / ANOMALIES, text_format.MessageToString(anomalies, as_utf8=True).encode())
    write(out / SCHEMA, text_format.MessageToString(schema, as_utf8=True).encode())
    page = statistics_page.render(stats_dir, statistics, findings, earlier, name)
    write(out / statistics_page.PAGE, page.encode("utf-8", "replace"))
    return {
        "anomalies": [f.words for f in findings if f.blocks],
        "warnings": [f.words for f in findings if not f.blocks],
        "baseline": name,
    }


def check(statistics: Any, schema: Any, baseline: Any = None) -> Iterable[Finding]:
    """Yields what is wrong with a `DatasetFeatureStatisticsList`.

    Args:
      statistics: of the data in question.
      schema: a `Schema` to keep to.
      baseline: earlier statistics to compare with, or None.
    """
    yield from checks.check(statistics, schema)
    if baseline is not None:
        yield from drift.check(statistics, baseline, schema)


def read_statistics(path: Path) -> Any:
    """Reads a `FeatureStats.pb`.

    Raises:
      UserError: missing or unreadable.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    try:
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        if not statistics.datasets:
            raise ValueError("it describes no split")
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename} is missing; make it with `python -m pipeline.validate --data=DIR "
            f"--out={path.parent}` (statistics_gen)"
        ) from error
    except Exception as error:
        raise UserError(f"{path} cannot be read ({error}); make it anew") from error
    return statistics


def read_schema(path: Path) -> Any:
    """Reads a `schema.pbtxt`.

    Raises:
      UserError: missing or unreadable; a mistake made in editing is told with its line.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename} is missing; make it with `python -m pipeline.validate --data=DIR "
            f"--out={path.parent}` (statistics_gen)"
        ) from error
    except Exception as error:
        raise UserError(
            f"{path} cannot be read as a schema (line:column : {error}); mend it, or make it anew"
        ) from error


def read_baseline(path: Path) -> tuple[Any, Any]:
    """Statistics and schema of an earlier span; one of them None if `path` is the other's file.

    Raises:
      UserError: nothing of the kind there.
    """
    if path.is_dir():
        return read_statistics(path / STATISTICS), read_schema(path / SCHEMA)
    if not path.exists():
        raise UserError(
            f"--baseline={path} does not exist; expected the --out folder of an earlier "
            f"`python -m pipeline.validate`, or a {SCHEMA}"
        )
    if path.suffix == ".pb":
        beside = path.with_name(SCHEMA)
        return read_statistics(path), read_schema(beside) if beside.exists() else None
    return None, read_schema(path)


def _add(anomalies: Any, finding: Finding) -> None:
    """Adds a finding to the proto: one entry per feature, one reason per finding."""
    if finding.feature:
        info = anomalies.anomaly_info[finding.feature]
        if not info.path.step:
            info.path.step.append(finding.feature)
    else:  # about the data set as a whole
        info = anomalies.dataset_anomaly_info
    severity = info.ERROR if finding.blocks else info.WARNING
    info.severity = max(info.severity, severity)
    info.reason.add(
        type=info.Type.Value(finding.kind),
        short_description=finding.short,
        description=finding.words,
    )
    info.short_description = (
        finding.short if len(info.reason) == 1 else f"{len(info.reason)} findings"
    )
    info.description = " ".join(reason.description + "." for reason in info.reason)
    if finding.measurement:
        kind, value, threshold, comparison = finding.measurement
        told = anomalies.drift_skew_info.add()
        told.path.step.append(finding.feature)
        rows = told.drift_measurements if comparison == "drift" else told.skew_measurements
        row = rows.add(value=value, threshold=threshold)
        row.type = row.Type.Value(kind)
