"""Where images come from: what `--source` understands.

`open_source` picks the class; each file of this room reads one kind of source, and `base.py` says
what all of them answer.
"""

import difflib
import hashlib
from pathlib import Path

from ganpipe.data.sources.base import Batch, Plan, Source
from ganpipe.errors import UserError

__all__ = ["KINDS", "Batch", "Plan", "Source", "open_source", "source_fingerprint"]

# Kind -> (how it is written, what it is).
KINDS = {
    "folder": ("folder:DIR", "pictures, flat or in class sub-folders, or with dataset.json"),
    "zip": ("zip:FILE", "the same in a zip file, read in place"),
    "tfds": ("tfds:NAME[/CONFIG][:VERSION][:SPLIT]", "a set of tensorflow-datasets"),
    "idx": ("idx:DIR", "MNIST's family: idx files, plain or .gz"),
    "npz": ("npz:FILE", "NumPy arrays of images and labels"),
    "tfrecord": ("tfrecord:GLOB", "records of the ProGAN and StyleGAN data tools"),
    "pairs": ("pairs:DIR_A,DIR_B", "aligned pictures, by name"),
    "unpaired": ("unpaired:DIR_A,DIR_B", "two domains to translate between"),
    "labelmap": ("labelmap:IMAGES,MAPS", "pictures with maps of class ids"),
    "single": ("single:FILE", "one picture, at its own size"),
}


def open_source(spec: str, tfds_data_dir: str | None = None) -> Source:
    """Understands `--source`.

    Args:
      spec: one of `KINDS`, or a named set: NAME or NAME:OPTION, NAME in `ganpipe.data.sets.NAMES`.
      tfds_data_dir: where TFDS keeps its data; `$TFDS_DATA_DIR` or `~/tensorflow_datasets` if None.

    Raises:
      UserError: unknown kind, missing or empty folder, unknown name.
    """
    from ganpipe.data import sets

    kind, _, rest = spec.partition(":")
    if kind in sets.NAMES:
        return sets.open_set(kind, rest)
    if kind not in KINDS or not rest:
        raise _unknown(spec, kind)
    if kind == "tfds":
        from ganpipe.data.sources import tfds  # imports tensorflow-datasets

        place = str(Path(tfds_data_dir or tfds.default_data_dir()).expanduser())
        return tfds.parse(rest, place)
    return _from_files(kind, spec, rest)


def _from_files(kind: str, spec: str, rest: str) -> Source:
    """A source of files on this machine."""
    from ganpipe.data.sources import arrays, couples, lod_records, pictures, single, trees

    def tree(path: str, name: str = kind) -> trees.FolderTree | trees.ZipTree:
        # No resolve(): a linked folder keeps the name that its owner gave it.
        whole = str(Path(path).expanduser().absolute())
        if name == "zip" or (name != "folder" and whole.lower().endswith(".zip")):
            return trees.ZipTree(whole)
        return trees.FolderTree(whole, name)

    if kind in ("folder", "zip"):
        source = pictures.Pictures(tree(rest))
        if Path(rest).is_file() and kind == "folder":
            hint = "zip" if rest.lower().endswith(".zip") else "single"
            raise UserError(
                f"--source={spec}: this is a file; did you mean --source={hint}:{rest}?"
            )
        return source
    path = str(Path(rest).expanduser().absolute())
    if kind == "single":
        return single.Single(path)
    if kind in ("idx", "npz"):
        missing = not Path(path).is_file() if kind == "npz" else False
        if missing:
            what = "is a folder" if Path(path).is_dir() else "does not exist"
            raise UserError(f"--source=npz:{path}: this {what}; expected a .npz file of arrays")
        return arrays.Arrays(kind, path)
    if kind == "tfrecord":
        return lod_records.LodRecords(path)
    first, comma, second = rest.partition(",")
    if not comma or not first or not second or "," in second:
        raise UserError(
            f"--source={spec}: expected two folders with a comma between them, {KINDS[kind][0]}"
        )
    if kind == "unpaired":
        return couples.Unpaired((pictures.Pictures(tree(first)), pictures.Pictures(tree(second))))
    return couples.Couples(kind, tree(first), tree(second))


def _unknown(spec: str, kind: str) -> UserError:
    from ganpipe.data import sets

    known = [*sets.NAMES, *KINDS]
    hint = ""
    if Path(spec).is_dir():
        hint = f" Did you mean --source=folder:{spec}?"
    elif Path(spec).is_file():
        hint = f" Did you mean --source={'zip' if spec.endswith('.zip') else 'single'}:{spec}?"
    elif kind in KINDS:
        hint = f" It is written {KINDS[kind][0]}."
    else:
        close = difflib.get_close_matches(kind, known, n=2)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
    forms = ", ".join(form for form, _ in KINDS.values())
    return UserError(
        f"--source={spec!r} is not known; expected {forms}, or one of "
        f"{', '.join(sets.NAMES)}.{hint}"
    )


def source_fingerprint(spec: str, tfds_data_dir: str | None = None) -> str:
    """Cheap fingerprint of a source's inputs, to decide whether to prepare again.

    Named sets: pinned hashes. Files: relative paths, sizes and modification times. TFDS: name,
    configuration and version. Nothing is fetched or decoded.

    Returns:
      64 hex digits.

    Raises:
      UserError: as `open_source`.
    """
    text = open_source(spec, tfds_data_dir).fingerprint()
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
