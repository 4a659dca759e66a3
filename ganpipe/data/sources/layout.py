"""What the files of a tree mean: splits, classes, labels.

Labels are, in this order of precedence,

* those of a file of labels: `dataset.json` as StyleGAN2's dataset tool writes it, that is
  `{"labels": [["00000/a.png", 6], ...]}`, or null for no labels; or `labels.json`, which is the
  same or `{"a.png": 6, "b.png": "cat", ...}`;
* the sub-folders: flat (`DIR/*.png`, no labels), or classes (`DIR/CLASS/**/*.png`).

Splits are `DIR/train/...` and `DIR/test/...` (or `val`, `valid`, `validation` for lack of `test`),
each of them flat or of classes, with or without a file of labels beside them.

One folder around all of this, as `zip -r faces.zip faces` makes it, is looked through, and so are
several, one in the other: a file of labels counts inside as well, and its paths may begin inside
or outside.
"""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np

from ganpipe.data.decode import RejectedError
from ganpipe.data.sources import trees
from ganpipe.errors import UserError

_TRAIN, _TEST = "train", ("test", "val", "valid", "validation")


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a tree holds before any picture is opened.

    Attributes:
      keys: pictures.
      labels: (n,) int64 class index of each; zeros without classes.
      in_test: (n,) bool, or None where the tree has no split folders.
      class_names: in label order.
      passed_over: number of other files.
      problems: (key, reason) of pictures that cannot be read.
    """

    keys: tuple[str, ...]
    labels: np.ndarray
    in_test: np.ndarray | None
    class_names: tuple[str, ...]
    passed_over: int
    problems: tuple[tuple[str, str], ...]


def class_order(names: Sequence[str]) -> list[str]:
    """Label order: numeric when every name is a whole number (0..9, 00..61), else by code point."""
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def arrange(tree: trees.Tree, listing: trees.Listing) -> Layout:
    """Finds the layout of a tree.

    Raises:
      UserError: no pictures, an empty class folder, a mixture of layouts, classes of the test split
        that the train split lacks, a file of labels that does not fit.
    """
    where = tree.path
    if not listing.keys:
        raise UserError(
            f"--source={tree.kind}:{where}: no pictures in it (looked for {trees.suffixes()}; "
            f"{listing.passed_over} other files)"
        )
    if listing.labels:
        labelled = _from_file(tree, listing)
        if labelled is not None:
            return labelled
    return _from_folders(where, listing)


def _wrapper(listing: trees.Listing) -> str:
    """The folders around everything, with a slash behind; "" for none.

    A folder with pictures right in it is none: `DIR/all/*.png` is one folder of pictures.
    """
    common = trees.common_folder(listing.keys)
    flat = any("/" not in key[len(common) :] for key in listing.keys)
    around = ""
    for part in common.split("/")[: -2 if flat else -1]:
        if _sub_folders(listing, around) != [part]:
            break  # there are others, empty ones
        around += f"{part}/"
    return around


def _sub_folders(listing: trees.Listing, prefix: str) -> list[str]:
    below = (name[len(prefix) :] for name in listing.folders if name.startswith(prefix))
    return [name for name in below if name and "/" not in name]


def _splits(where: str, listing: trees.Listing, around: str) -> dict[str, str]:
    """{split: prefix}: train and test where there are such folders, else {"": around}."""
    top = _sub_folders(listing, around)
    loose = any("/" not in key[len(around) :] for key in listing.keys)
    test = next((name for name in _TEST if name in top), None)
    if loose or not test or _TRAIN not in top:
        return {"": around}
    strange = sorted(set(top) - {_TRAIN, test})
    if strange:
        raise UserError(
            f"{where}/{around} holds split folders {_TRAIN!r} and {test!r} beside "
            f"{', '.join(repr(s) for s in strange[:3])}; keep one train and one test folder, "
            "or only class folders"
        )
    prefixes = {"train": f"{around}{_TRAIN}/", "test": f"{around}{test}/"}
    for prefix in prefixes.values():
        if not any(key.startswith(prefix) for key in listing.keys):
            raise UserError(f"{where}/{prefix} holds no pictures (looked for {trees.suffixes()})")
    return prefixes


def _from_folders(where: str, listing: trees.Listing) -> Layout:
    prefixes = _splits(where, listing, _wrapper(listing))
    parts = {split: _classes(where, listing, prefix) for split, prefix in prefixes.items()}
    first = next(iter(parts.values()))
    names = class_order([name for name in first if name])
    if "test" in parts:
        others = {name for name in parts["test"] if name}
        unknown = sorted(others - set(names))
        if unknown or bool(others) != bool(names):
            test = prefixes["test"].split("/")[-2]
            raise UserError(
                f"{where}: train has {len(names)} class folders, {test} has {len(others)}"
                + (f", among them {unknown[0]!r} that train lacks" if unknown else "")
                + "; both must use the same classes"
            )
    # A single sub-folder is a habit of other tools (folder/all/*.jpg), not a label.
    labelled = len(names) > 1
    index = {name: i for i, name in enumerate(names)} if labelled else {}
    keys, labels, in_test = [], [], []
    for split, classes in parts.items():
        for name, members in classes.items():
            keys += members
            labels += [index.get(name, 0)] * len(members)
            in_test += [split == "test"] * len(members)
    return Layout(
        tuple(keys),
        np.array(labels, np.int64),
        np.array(in_test) if len(parts) > 1 else None,
        tuple(names) if labelled else (),
        listing.passed_over,
        listing.problems,
    )


def _classes(where: str, listing: trees.Listing, prefix: str) -> dict[str, list[str]]:
    """{class: keys} below a prefix, with "" for pictures right there."""
    found: dict[str, list[str]] = {}
    for key in listing.keys:
        if key.startswith(prefix):
            name, slash, _ = key[len(prefix) :].partition("/")
            found.setdefault(name if slash else "", []).append(key)
    if "" in found and len(found) > 1:
        full = [name for name in found if name]
        raise UserError(
            f"{where}/{prefix} holds pictures beside sub-folders of pictures ({len(found[''])} "
            f"such as {found[''][0]!r}, and {', '.join(repr(n) for n in full[:3])}): either put "
            "all into class sub-folders or all flat into one folder"
        )
    if found and "" not in found:
        empty = [name for name in _sub_folders(listing, prefix) if name not in found]
        if empty:
            raise UserError(
                f"class folder {where}/{prefix}{empty[0]} holds no pictures ({trees.suffixes()}); "
                "fill it or remove it"
            )
    return found


def _from_file(tree: trees.Tree, listing: trees.Listing) -> Layout | None:
    """The layout by a file of labels; None if the file says nothing of labels."""
    place = f"{tree.path}/{listing.labels}"
    try:
        text = tree.read(listing.labels)
    except (OSError, RejectedError) as error:
        raise UserError(f"{place}: {error}; mend it or remove it") from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"{place} is not readable JSON ({error}); mend it or remove it to take the "
            "sub-folders as classes"
        ) from error
    if isinstance(content, dict) and "labels" in content:
        content = content["labels"]
    elif listing.labels.endswith("dataset.json"):
        return None  # some other tool's file
    expected = 'expected {"labels": [["path/to/picture.png", 0], ...]} or {"picture.png": "cat"}'
    if content is None:
        given: dict[str, int | str] = {}
    elif isinstance(content, dict):
        given = content
    else:
        try:
            given = {key: label for key, label in content}  # noqa: C416 (checks that they are pairs)
        except (TypeError, ValueError) as error:
            raise UserError(f"{place} does not list labels; {expected}") from error
    kinds = {type(label) for label in given.values()}
    if not kinds <= {int} and not kinds <= {str}:
        shown = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UserError(f"{place} has labels of type {shown}; {expected}, all ints or all texts")
    if not given:
        names: list[str] = []
    elif kinds == {str}:
        names = class_order(sorted({str(label) for label in given.values()}))
    else:
        low, high = min(given.values()), max(given.values())
        if low < 0 or high > 1_000_000:
            raise UserError(f"{place} has labels {low}..{high}; expected class indices from 0")
        names = [str(i) for i in range(high + 1)]
    index = {name: i for i, name in enumerate(names)}
    given, gone = _placed(given, listing)
    if given:
        missing = [key for key in listing.keys if key not in given]
        if missing:
            raise UserError(
                f"{place} gives no label to {len(missing)} of {len(listing.keys)} pictures, "
                f"such as {missing[0]!r}; add them, or remove the pictures or the file"
            )
    labels = [index[str(given[key])] for key in listing.keys] if given else [0] * len(listing.keys)
    test = _splits(tree.path, listing, _wrapper(listing)).get("test")
    return Layout(
        listing.keys,
        np.array(labels, np.int64),
        np.array([key.startswith(test) for key in listing.keys]) if test else None,
        tuple(names),
        listing.passed_over,
        listing.problems + gone,
    )


def _placed(
    given: dict[str, int | str], listing: trees.Listing
) -> tuple[dict[str, int | str], tuple[tuple[str, str], ...]]:
    """Labels by whole key, whose paths may begin where the file lies; (key, reason) of the rest."""
    beside = listing.labels[: listing.labels.rfind("/") + 1]
    there = set(listing.keys)
    placed, gone = {}, []
    for key, label in given.items():
        whole = beside + key if beside + key in there else key
        placed[whole] = label
        if whole not in there:
            gone.append((key, "named by the file of labels, but not there"))
    return placed, tuple(gone)
