"""Evaluator: Model + Examples -> ModelEvaluation (scores) -> ModelBlessing (a verdict).

The scores are costly and depend on the model and the data alone; the verdict is cheap and depends
on the thresholds and on the last blessed model. So they are two artifacts: another threshold does
not score again.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganpipe.cli import app
from ganpipe.errors import UserError

METRICS_FILE = "metrics.json"
BLESSING_FILE = "blessing.json"

# Threshold -> (score it speaks of, +1 if the score must not exceed it, -1 if it must reach it).
THRESHOLDS = {
    "max_frechet": ("frechet", 1),
    "max_kernel": ("kernel", 1),
    "min_label_accuracy": ("label_accuracy", -1),
    "min_classifier_accuracy": ("classifier_accuracy", -1),
}


def check_config(config: Mapping[str, Any], conditional: bool) -> None:
    """Refuses thresholds that could never be judged, before any work.

    Args:
      config: the `pipeline.evaluator` section.
      conditional: whether the system is class-conditional.

    Raises:
      UserError: a threshold whose metric is not asked for, label accuracy of an unconditional
        system, or numbers out of range.
    """
    where = "config.pipeline.evaluator"
    metrics = tuple(config["metrics"])
    if "label_accuracy" in metrics and not conditional:
        raise UserError(
            f"{where}.metrics names label_accuracy, but the system is unconditional "
            "(config.data.conditional=False): leave it out or train with labels"
        )
    for key, (score, _) in THRESHOLDS.items():
        limit = config.get(key)
        if limit is None:
            continue
        if score != "classifier_accuracy" and score not in metrics:
            raise UserError(
                f"{where}.{key}={limit:g} needs the metric {score!r}, but {where}.metrics is "
                f"{metrics}: add it there or set the threshold to None"
            )
        if key.startswith("min_") and not 0 <= limit <= 1:
            raise UserError(f"{where}.{key}={limit:g}: expected a share from 0 to 1")
    ratio = config.get("max_frechet_ratio")
    if ratio is not None and not ratio > 0:
        raise UserError(
            f"{where}.max_frechet_ratio={ratio:g}: expected more than 0, for example 1.1"
        )
    if config["num"] < 2:
        raise UserError(f"{where}.num={config['num']}: expected at least 2 images to score")


def run(
    out: Path,
    *,
    run_dir: Path,
    data_dir: Path,
    metrics: Sequence[str],
    num: int,
    seed: int,
    split: str,
    cache_dir: Path,
) -> Mapping[str, Any]:
    """Scores a trained run and writes `out/metrics.json`.

    Args:
      out: an existing folder.
      run_dir: run folder of the model.
      data_dir: folder written by `pipeline.prepare`.
      metrics: names, see `ganpipe.cli.eval`.
      num: generated images to score.
      seed: row seed of the first.
      split: real images to compare with.
      cache_dir: where the classifier and the features of the real images are kept.

    Returns:
      The dict of `metrics.json`: `scores`, `extractor`, `passport`.
    """
    app.import_tensorflow()
    from ganpipe.cli import eval as judging

    result = judging.evaluate_run(
        run_dir,
        data_dir=data_dir,
        metrics=tuple(metrics),
        num=num,
        seed=seed,
        split=split,
        cache_dir=cache_dir,
    )
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    (out / METRICS_FILE).write_text(text, encoding="utf-8")
    return json.loads(text)


def _check(rule: str, score: str, value: float | None, limit: float, sign: int) -> dict[str, Any]:
    # Written so that NaN and an absent score miss every threshold.
    passed = value is not None and sign * value <= sign * limit and math.isfinite(value)
    return {"rule": rule, "score": score, "value": value, "limit": limit, "passed": bool(passed)}


def bless(
    evaluation: Mapping[str, Any],
    thresholds: Mapping[str, Any],
    baseline: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Judges scores against thresholds and against the last blessed model.

    Every score must be finite, every threshold that is not None must be met, and with a baseline
    `frechet <= max_frechet_ratio * frechet of the baseline`, both measured on the same real images
    with the same extractor.

    Args:
      evaluation: what `run` returned for the candidate.
      thresholds: the `pipeline.evaluator` section.
      baseline: what `run` returned for the last blessed model, or None if there is none.

    Returns:
      {"blessed": bool, "checks": [{"rule", "score", "value", "limit", "passed"}],
       "missed": [one sentence for each check that failed]}.
    """
    scores = dict(evaluation["scores"])
    scores["classifier_accuracy"] = (evaluation.get("extractor") or {}).get("test_accuracy")
    checks = []
    for score, value in sorted(evaluation["scores"].items()):
        # Absent for lack of meaning is None; anything else has to be a number.
        if value is not None and not math.isfinite(value):
            checks.append(
                {"rule": "finite", "score": score, "value": value, "limit": None, "passed": False}
            )
    for rule, (score, sign) in THRESHOLDS.items():
        limit = thresholds.get(rule)
        if limit is not None:
            checks.append(_check(rule, score, scores.get(score), float(limit), sign))
    ratio = thresholds.get("max_frechet_ratio")
    if baseline is not None and ratio is not None and "frechet" in scores:
        limit = float(ratio) * float(baseline["scores"]["frechet"])
        check = _check("max_frechet_ratio", "frechet", scores["frechet"], limit, 1)
        checks.append(check | {"baseline": baseline["scores"]["frechet"], "ratio": float(ratio)})
    return {
        "blessed": all(check["passed"] for check in checks),
        "checks": checks,
        "missed": [sentence(check) for check in checks if not check["passed"]],
    }


def sentence(check: Mapping[str, Any]) -> str:
    """Returns one check of `bless` in words, with its numbers."""
    value = "absent" if check["value"] is None else f"{check['value']:.4g}"
    if check["rule"] == "finite":
        return f"{check['score']} is {value}, not a finite number"
    word = "at most" if check["rule"].startswith("max_") else "at least"
    text = f"{check['score']} is {value}, {word} {check['limit']:.4g} was asked ({check['rule']}"
    if "baseline" in check:
        text += f": {check['ratio']:g} x {check['baseline']:.4g} of the last blessed model"
    return text + ")"


def write_blessing(
    out: Path,
    evaluation: Mapping[str, Any],
    thresholds: Mapping[str, Any],
    baseline: Mapping[str, Any] | None,
    baseline_model: str | None,
) -> Mapping[str, Any]:
    """Writes `out/blessing.json`: the verdict of `bless` and which model it was compared with.

    Args:
      out: an existing folder.
      evaluation: scores of the candidate.
      thresholds: the `pipeline.evaluator` section.
      baseline: scores of the last blessed model, or None.
      baseline_model: fingerprint of that model, or None.

    Returns:
      The dict written.
    """
    verdict = bless(evaluation, thresholds, baseline) | {"baseline_model": baseline_model}
    text = json.dumps(verdict, indent=2, ensure_ascii=False) + "\n"
    (out / BLESSING_FILE).write_text(text, encoding="utf-8")
    return verdict
