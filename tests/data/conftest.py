"""Small synthetic pictures and data folders, made once per session."""

import io

import numpy as np
import pytest
from PIL import Image

CLASSES = ("ape", "bee", "cat")


def picture(seed: int, size=(24, 20), mode="RGB") -> Image.Image:
    """A smooth random picture: distinct for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def pictures():
    """The two makers above, for test files that cannot import this one."""
    return type("Pictures", (), {"make": staticmethod(picture), "encode": staticmethod(encoded)})


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory):
    """Three classes with 20, 21 and 22 colour pictures of 24x20."""
    root = tmp_path_factory.mktemp("pictures") / "zoo"
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(20 + label):
            picture(100 * label + i).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture(scope="session")
def data_dir(class_folder, tmp_path_factory):
    """`class_folder` prepared at 16x16."""
    from pipeline.components import example_gen

    out = tmp_path_factory.mktemp("prepared") / "zoo16"
    example_gen.run(f"folder:{class_folder}", out, 16, say=lambda line: None, progress=False)
    return out
