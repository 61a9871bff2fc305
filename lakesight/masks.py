"""Instance masks as COCO's run-length encoding, in the compressed string form of its JSON files.

Runs go down the columns, the first one counts zeros. The format is the one that the COCO data set
publishes (cocodataset.org, "results format", and its `maskApi`); pycocotools reads these strings.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lakesight.errors import UserError

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

GROUPS = 7
"""Groups of five bits that a run may take: more than any picture needs."""


@dataclass(frozen=True)
class Rle:
    """A mask of `size` (height, width) as run lengths in COCO's compressed string."""

    size: tuple[int, int]
    counts: str

    def as_coco(self) -> dict[str, Any]:
        """Return the mask as it stands in a COCO JSON file."""
        return {"size": list(self.size), "counts": self.counts}


def encode(mask_hw: Mask) -> Rle:
    """Return the run lengths of a mask `(height, width)`."""
    height, width = mask_hw.shape
    pixels = np.asarray(mask_hw, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    first = [0] if pixels.size and pixels[0] else []  # no zeros before the first run of ones
    edges = np.concatenate([[0], first, changes, [pixels.size]])
    return Rle((height, width), compress(np.diff(edges)))


def decode(rle: Rle) -> Mask:
    """Return the mask `(height, width)`; raise UserError where the runs do not fill it."""
    height, width = rle.size
    counts = decompress(rle.counts)
    if counts.sum() != height * width or (counts < 0).any():
        raise UserError(
            f"expected run lengths that fill {height} x {width} pixels, got {counts.sum()} pixels "
            f"in {len(counts)} runs: is the mask's size right?"
        )
    ones = np.arange(len(counts)) % 2 == 1
    return np.repeat(ones, counts).reshape((height, width), order="F")


def area(rle: Rle) -> int:
    """Return the number of pixels in the mask."""
    return int(decompress(rle.counts)[1::2].sum())


def compress(counts: Counts) -> str:
    """Return run lengths as text: differences to the run before the last, five bits a character."""
    values = np.asarray(counts, dtype=np.int64).copy()
    values[3:] -= np.asarray(counts, dtype=np.int64)[1:-2]
    groups = values[:, None] >> (5 * np.arange(GROUPS))  # (runs, GROUPS), the sign is kept
    ends = np.where(groups & 16, groups >> 5 == -1, groups >> 5 == 0)
    last = ends.argmax(axis=1)[:, None]
    column = np.arange(GROUPS)
    characters = (groups & 31) + 32 * (column < last) + 48
    text: bytes = characters[column <= last].astype(np.uint8).tobytes()
    return text.decode("ascii")


def decompress(text: str) -> Counts:
    """Return the run lengths of a compressed string; raise UserError where it is none."""
    codes = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64) - 48
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise UserError(f"expected run lengths as COCO writes them, got {text[:40]!r}")
    starts = np.flatnonzero(np.concatenate([[True], (codes[:-1] & 32) == 0]))
    lengths = np.diff(np.concatenate([starts, [codes.size]]))
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, lengths))
    values = np.add.reduceat((codes & 31) << shifts, starts)
    is_negative = codes[starts + lengths - 1] & 16 != 0
    values -= is_negative * (1 << 5 * lengths)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
