"""Writes the tables of results into the documents: benchmarks/results/*.jsonl -> docs.

A table stands between two comment lines, `<!-- table NAME -->` and `<!-- end -->`; nobody edits it
by hand.

    python benchmarks/report.py            # writes every table
    python benchmarks/report.py --check    # fails when a document is behind its results
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"


def lines(name: str) -> list[dict]:
    """Records of benchmarks/results/NAME.jsonl, in the order they were written."""
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def classic() -> str:
    """Frechet distance of the classic family at equal real images."""
    groups: dict[tuple, dict[str, dict[int, dict]]] = {}
    for r in lines("classic"):
        key = (r["images"], r["precision"], r["extractor"])
        groups.setdefault(key, {}).setdefault(r["row"], {})[r["seed"]] = r
    if not groups:
        return "(no results yet)"
    parts = []
    for (images, precision, extractor), rows in groups.items():
        some = next(iter(next(iter(rows.values())).values()))
        counts = some["counts"]
        parts.append(
            f"Fashion-MNIST at 32x32, {images:,} real images seen by D, {precision}; distance by "
            f"{extractor}, {counts['generated']:,} samples against {counts['reference']:,} test "
            "images. Mean over seeds, then each seed."
        )
        parts.append("")
        parts.append("| system | Frechet distance | seeds |")
        parts.append("| --- | --- | --- |")
        means = {
            name: statistics.mean(r["frechet"] for r in seeds.values())
            for name, seeds in rows.items()
        }
        for name in sorted(rows, key=means.get):
            seeds = rows[name]
            each = ", ".join(f"{seeds[s]['frechet']:.2f}" for s in sorted(seeds))
            listed = ", ".join(map(str, sorted(seeds)))
            parts.append(f"| {name} | **{means[name]:.2f}** ({each}) | {listed} |")
        parts.append("")
    return "\n".join(parts).rstrip()


def sngan32() -> str:
    """One D and one G update of SN-GAN 32, ours against PyTorch."""
    records = lines("sngan32")
    if not records:
        return "(no results yet)"
    record = records[-1]
    parts = [
        "| contestant | seconds for one D and one G update, median (rounds) |",
        "| --- | --- |",
    ]
    for name, seconds in record["seconds_per_step"].items():
        each = ", ".join(f"{s:.2f}" for s in seconds)
        parts.append(f"| {name} | {statistics.median(seconds):.2f} ({each}) |")
    return "\n".join(parts)


def stylegan2() -> str:
    """Updates of StyleGAN2 32, ours against the official PyTorch code."""
    records = lines("stylegan2")
    if not records:
        return "(no results yet)"
    record = records[-1]
    ratios = record["ratio"]["rounds"]
    parts = [
        "| contestant | seconds a step, median (rounds) | times as fast as the official code |",
        "| --- | --- | --- |",
    ]
    for name, seconds in record["seconds_per_step"].items():
        each = ", ".join(f"{s:.2f}" for s in seconds)
        ratio = "1"
        if name in ratios:
            low, high = min(ratios[name]), max(ratios[name])
            ratio = f"{statistics.median(ratios[name]):.2f} ({low:.2f} to {high:.2f})"
        parts.append(f"| {name} | {statistics.median(seconds):.2f} ({each}) | {ratio} |")
    return "\n".join(parts)


def every_metric() -> str:
    """Sets of images through every score: a column a set."""
    records = lines("every_metric")
    if not records:
        return "(no results yet)"
    counts = records[0]["passport"]["counts"]
    parts = [
        f"{counts['generated']:,} images of each set against {counts['reference']:,} test images, "
        f"{records[0]['passport']['extractor'][:21]}.",
        "",
        "| set | " + " | ".join(records[0]["names"].values()) + " |",
        "| --- |" + " --- |" * len(records[0]["names"]),
    ]
    for record in records:
        cells = [f"{record['scores'][metric]:.3g}" for metric in record["names"]]
        parts.append(f"| {record['set']} | " + " | ".join(cells) + " |")
    return "\n".join(parts)


TABLES = {
    "classic": classic,
    "sngan32": sngan32,
    "stylegan2": stylegan2,
    "every_metric": every_metric,
}
_BLOCK = re.compile(r"(<!-- table (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def written(text: str) -> str:
    """`text` with every table renewed."""

    def block(match: re.Match) -> str:
        if match[2] not in TABLES:
            raise SystemExit(f"error: table {match[2]!r} is unknown; known: {', '.join(TABLES)}")
        return f"{match[1]}{TABLES[match[2]]()}\n{match[4]}"

    return _BLOCK.sub(block, text)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if behind")
    check = parser.parse_args().check
    behind = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        old = path.read_text()
        new = written(old)
        if new != old:
            behind.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(new)
    print("\n".join(behind) if behind else "every table is up to date")
    if check and behind:
        sys.exit(1)


if __name__ == "__main__":
    main()
