"""28 x 28 pictures of the 94 printable ASCII characters, from the fonts in matplotlib's wheel."""

import re
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from dqnlab.types import UserError

SIZE = 28  # pixels of a side
CHARACTERS = "".join(map(chr, range(33, 127)))
# Glyphs that TeX's fonts have in the places of " < > \\ _ { | } and that are other signs.
_OTHER_SIGNS = {
    *("quotedblright", "exclamdown", "questiondown", "quotedblleft"),
    *("dotaccent", "emdash", "endash", "hungarumlaut"),
}
FAMILIES = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral", "cm")
_POINTS = 20  # capitals are about 15 pixels high
_BASELINE = 20  # pixels from the top


def faces() -> dict[str, Path]:
    """Name -> file of the 21 text faces; those of symbols and display sizes are left out."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    found = {path.stem: path for path in sorted(folder.glob("*.ttf"))}
    if text := {name: path for name, path in found.items() if family(name) is not None}:
        return text
    raise UserError(f"{folder} holds no fonts; they are part of matplotlib")


def family(face: str) -> str | None:
    """The family of a text face, e.g. STIXGeneral of STIXGeneralBolIta; None of another."""
    if face in ("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"):
        return "cm"
    stem = re.sub(r"(-.*|Bol|Ita|BolIta|Italic)$", "", face)
    return stem if stem in FAMILIES else None


def pictures(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(uint8[N, 28, 28], int32[N] index into CHARACTERS) of the characters that the face has.

    Centred across, on one baseline: what tells `o` from `O` and `,` from `'` is kept. TeX's fonts
    (cm*) have other signs in some of ASCII's places, which their glyphs' names tell.
    """
    font = ImageFont.truetype(str(path), _POINTS)
    with TTFont(path) as tables:
        glyphs = tables.getBestCmap()
    images, labels = [], []
    for label, character in enumerate(CHARACTERS):
        if glyphs.get(ord(character)) in (None, *_OTHER_SIGNS):
            continue
        if (path.stem, character) == ("cmti10", "$"):  # a pound sign, whatever its name
            continue
        image = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(image).text((SIZE / 2, _BASELINE), character, 255, font, anchor="ms")
        images.append(np.asarray(image))
        labels.append(label)
    return np.stack(images), np.array(labels, np.int32)
