"""Names of emoji: sequences of code points, spelled alike across packages."""

# Skin tones and the signs for man and woman: variants of one picture, kept on one side of a cut.
_VARIANTS = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff", "2640", "2642"}
_SILENT = {"fe0f", "e007f"}  # "as a picture" and "end of tag": packages differ in writing them
_JOINER = "200d"


def normal(text: str) -> str:
    """One spelling: four digits at least, dashes, without the silent code points.

    `23-fe0f-20e3` and `0023-20e3` are both `0023-20e3`.
    """
    points = [point.zfill(4) for point in text.lower().replace("_", "-").split("-")]
    return "-".join(point for point in points if point not in _SILENT)


def family(text: str) -> str:
    """The picture of which it is a variant: without skin tone and gender sign."""
    points = [point for point in normal(text).split("-") if point not in _VARIANTS]
    while points and points[-1] == _JOINER:
        points.pop()
    return "-".join(points) or normal(text)
