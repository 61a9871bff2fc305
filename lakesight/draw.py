"""Detections as an SVG layer that lies over a picture: crisp at any size, and safe to embed."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

from lakesight import masks
from lakesight.models.rotated import corners

COCO_BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of the 17 COCO keypoints that are joined by a line."""

GOLDEN_ANGLE = 137.508


def overlay(
    width: int,
    height: int,
    detections: Iterable[Mapping[str, Any]],
    *,
    shown_wh: tuple[int, int] = (400, 256),
    min_keypoint_score: float = 0.3,
) -> str:
    """Return one `<svg>` in the original picture's pixels, `width` by `height`.

    Args:
        width: of the original picture.
        height: of the original picture.
        detections: as in the `detections` column; labels are escaped here.
        shown_wh: the frame on the screen, in px, in which the text is about 12 px high.
        min_keypoint_score: weaker keypoints, and the bones that end in them, are not drawn.
    """
    unit = max(width / shown_wh[0], height / shown_wh[1])  # original pixels in one of the screen
    # large boxes first, so that the small ones and their labels stay visible on top
    ordered = sorted(detections, key=lambda found: -area_of(found["box"]))
    shapes = [_detection(found, width, unit, min_keypoint_score) for found in ordered]
    return (
        f'<svg class="overlay" viewBox="0 0 {width} {height}" preserveAspectRatio="none"'
        f' role="img" aria-label="{len(shapes)} detections">{"".join(shapes)}</svg>'
    )


def hue(label: str) -> float:
    """Return the hue, in degrees, in which a label is drawn: the same in every report."""
    digest = hashlib.blake2b(label.encode("utf-8", "surrogateescape"), digest_size=4).digest()
    return round(int.from_bytes(digest) * GOLDEN_ANGLE % 360, 1)


def label_of(found: Mapping[str, Any]) -> str:
    """Return what a detection's plate says: its label, or its class, and its score."""
    return f"{name_of(found)} {found['score']:.2f}"


def name_of(found: Mapping[str, Any]) -> str:
    """Return what a detection is called: its label, or its class."""
    return str(found["label"] or found["class_id"])


def area_of(xyxy: Sequence[float]) -> float:
    """Return the area of a box; 0 where it ends before it starts."""
    return max(0.0, xyxy[2] - xyxy[0]) * max(0.0, xyxy[3] - xyxy[1])


def _detection(found: Mapping[str, Any], width: int, unit: float, min_keypoint_score: float) -> str:
    label, title = name_of(found), label_of(found)
    parts = [
        f"<title>{escape(title)}</title>",
        _mask(found["mask"], unit) if found.get("mask") else "",
        _rotated(found["obb"]) if found.get("obb") else _box(found["box"]),
        _skeleton(found.get("keypoints") or (), unit, min_keypoint_score),
        _tag(title, found["box"], width, unit),
    ]
    return f'<g style="--hue:{hue(label)}">{"".join(parts)}</g>'


def _box(xyxy: Sequence[float]) -> str:
    x, y, right, bottom = xyxy
    return (
        f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{max(0.0, right - x):.1f}"'
        f' height="{max(0.0, bottom - y):.1f}"/>'
    )


def _rotated(xywhr: Sequence[float]) -> str:
    points = corners(np.array([xywhr]))[0].tolist()
    return f'<polygon class="box" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _mask(rle: Mapping[str, Any], unit: float) -> str:
    """Return the outline of a mask, true to half a pixel of the screen, its holes left open."""
    mask = masks.decode(masks.Rle(tuple(rle["size"]), rle["counts"])).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [cv2.approxPolyDP(one, unit / 2, True)[:, 0].tolist() for one in outlines]
    moves = "".join(f"M{'L'.join(f'{x + 0.5:g},{y + 0.5:g}' for x, y in ring)}Z" for ring in rings)
    return f'<path class="mask" fill-rule="evenodd" d="{moves}"/>'


def _tag(text: str, xyxy: Sequence[float], width: int, unit: float) -> str:
    """Return the label on its plate: above the box, or inside where there is no room above."""
    high, wide = 16 * unit, (6.8 * len(text) + 8) * unit
    x = max(0.0, min(xyxy[0], width - wide))
    y = xyxy[1] - high if xyxy[1] >= high else xyxy[1]
    return (
        f'<rect class="plate" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}"/>'
        # the font is the reader's: textLength makes whichever it is fit the plate
        f'<text x="{x + 4 * unit:.1f}" y="{y + 12 * unit:.1f}" font-size="{12 * unit:.2f}"'
        f' textLength="{wide - 8 * unit:.1f}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
    )


def _skeleton(keypoints: Sequence[Sequence[float]], unit: float, min_score: float) -> str:
    seen = {i: point for i, point in enumerate(keypoints) if point[2] >= min_score}
    bones = COCO_BONES if len(keypoints) == 17 else ()
    lines = [
        f'<line class="bone" x1="{seen[a][0]:.1f}" y1="{seen[a][1]:.1f}"'
        f' x2="{seen[b][0]:.1f}" y2="{seen[b][1]:.1f}"/>'
        for a, b in bones
        if a in seen and b in seen
    ]
    joints = [
        f'<circle class="joint" cx="{x:.1f}" cy="{y:.1f}" r="{2.5 * unit:.2f}"/>'
        for x, y, _ in seen.values()
    ]
    return "".join(lines + joints)
