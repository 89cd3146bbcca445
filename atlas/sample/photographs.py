"""Real photographs for the sample clip: those that ship inside scikit-image's wheel, and silhouettes to cut objects out.

The silhouettes were found once by GrabCut, checked by eye and simplified; they stand here as numbers so that the
sample does not depend on the version of a segmentation routine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from atlas.errors import UserError
from atlas.geometry.filling import continued
from atlas.storage.images import read_image, to_float

_SUBPIXELS = 16  # of the polygon filling: 1/16 pixel is finer than an 8-bit matte can tell


@dataclass(frozen=True)
class CutOut:
    """An object in a photograph: the file's name and the object's outline in its pixels."""

    photograph: str
    outline: tuple[tuple[int, int], ...]


# fmt: off
ASTRONAUT = CutOut("astronaut.png", (
    (181, 35), (175, 43), (163, 51), (157, 57), (153, 68), (153, 92), (156, 101), (162, 110), (169, 116), (171, 122),
    (182, 133), (182, 141), (184, 150), (181, 153), (166, 154), (154, 157), (140, 166), (134, 171), (127, 177),
    (121, 183), (120, 192), (122, 199), (119, 204), (108, 209), (102, 217), (91, 226), (78, 234), (65, 246),
    (60, 253), (53, 268), (50, 271), (40, 294), (39, 305), (34, 315), (29, 333), (26, 342), (26, 366), (24, 384),
    (23, 403), (21, 412), (22, 422), (24, 432), (24, 470), (26, 484), (28, 493), (28, 520), (509, 520), (509, 498),
    (506, 487), (503, 476), (501, 464), (497, 452), (493, 421), (488, 405), (478, 384), (467, 372), (455, 361),
    (436, 351), (419, 345), (393, 344), (381, 345), (370, 349), (365, 348), (360, 342), (361, 329), (357, 323),
    (356, 302), (351, 285), (347, 281), (345, 272), (341, 264), (326, 249), (311, 242), (307, 238), (302, 230),
    (299, 219), (294, 210), (285, 208), (281, 202), (254, 176), (256, 163), (264, 149), (266, 139), (269, 136),
    (275, 134), (290, 117), (296, 107), (299, 97), (300, 81), (299, 72), (296, 66), (296, 58), (286, 40), (276, 31),
    (248, 18), (236, 16), (227, 16), (214, 20), (205, 21), (198, 25), (190, 32),
))
COFFEE = CutOut("coffee.png", (
    (262, 19), (239, 25), (218, 35), (205, 44), (190, 59), (180, 74), (158, 86), (140, 92), (129, 100), (112, 117),
    (99, 134), (90, 151), (82, 170), (77, 192), (77, 230), (79, 249), (88, 273), (95, 287), (107, 306), (115, 316),
    (134, 335), (145, 344), (159, 354), (189, 370), (213, 379), (247, 387), (272, 389), (300, 388), (327, 384),
    (347, 379), (369, 372), (393, 361), (417, 345), (429, 335), (447, 316), (455, 302), (464, 290), (472, 270),
    (476, 252), (478, 238), (479, 218), (477, 202), (472, 187), (465, 169), (459, 157), (454, 152), (450, 144),
    (443, 137), (438, 131), (432, 125), (427, 122), (416, 112), (415, 107), (423, 82), (423, 75), (419, 70),
    (413, 67), (405, 67), (398, 70), (395, 73), (386, 61), (364, 41), (342, 29), (325, 23), (299, 18),
))

# fmt: on
GARAGE = "motorcycle_left.png"


def photograph(name: str) -> np.ndarray:
    """A photograph of scikit-image's wheel as (H, W, 3) float32 in [0, 1]; nothing is downloaded."""
    import skimage  # here, as it alone takes a while

    path = Path(skimage.__file__).parent / "data" / name
    if not path.is_file():
        raise UserError(f"{path} is missing: reinstall it (pip install --force-reinstall scikit-image)")
    return to_float(read_image(path, mode="rgb"))


@lru_cache(maxsize=4)  # half a second each, and tests build many samples
def cut_out(
    subject: CutOut,
) -> tuple[np.ndarray, np.ndarray]:  # colour (H, W, 3), matte (H, W), float32 in [0, 1]
    """The photograph and the matte of the object, edge about 1.5 pixels soft; both read-only.

    Outside the object the colour is the object's own, continued outwards: the pixels on a photograph's outline hold
    a share of what was behind the object, which would follow the object into its new surroundings as a rim.
    """
    colour = photograph(subject.photograph)
    height, width = colour.shape[:2]
    outline = np.array(subject.outline, np.float64)
    hard = np.zeros((height * 4, width * 4), np.uint8)
    corners = np.round((outline + 0.5) * 4 * _SUBPIXELS).astype(np.int32)
    cv2.fillPoly(hard, [corners], (255,), lineType=cv2.LINE_8, shift=4)
    matte = cv2.resize(hard, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # The blur rounds the polygon's corners; the threshold moves the edge inwards by about a pixel, off the mixed ones.
    matte = np.clip((cv2.GaussianBlur(matte, (0, 0), 1.6) - 0.5) / 0.45, 0, 1)
    colour = continued(colour, matte >= 0.95)
    colour.flags.writeable = matte.flags.writeable = False
    return colour, matte
