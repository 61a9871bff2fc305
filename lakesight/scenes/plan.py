"""What a folder of scenes shall hold, cut into slices that can be drawn anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from lakesight.models.base import Frozen
from lakesight.scenes.background import TONES
from lakesight.scenes.drawing import NUM_KEYPOINTS
from lakesight.scenes.paint import COLOURS, TEXTURES
from lakesight.scenes.scene import MAX_SIZE_PX, MIN_SIZE_PX
from lakesight.scenes.shapes import LABELS, shape
from lakesight.scenes.video import FRAMES_PER_S

VERSION = 3
"""Goes up whenever the same settings would give other bytes."""

SLICE_PICTURES = 64
JPEG_QUALITY = 92
SPLITS = ("train", "val", "videos")


@dataclass(frozen=True)
class Slice:
    """Pictures (or videos) `start` to `stop` of a split: the unit of work."""

    split: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """What the slice's own table is called."""
        return f"{self.split}-{self.start:08}"


class Plan(Frozen):
    """Everything that decides the bytes of a folder of scenes."""

    seed: int = Field(ge=0)
    num_images: int = Field(ge=0)
    num_val: int = Field(ge=0)
    num_videos: int = Field(ge=0)
    num_frames: int = Field(ge=1)
    width: int = Field(ge=MIN_SIZE_PX, le=MAX_SIZE_PX)
    height: int = Field(ge=MIN_SIZE_PX, le=MAX_SIZE_PX)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every picture."""
        return self.width, self.height

    def count(self, split: str) -> int:
        """Return how many pictures or videos a split has."""
        return {"train": self.num_images, "val": self.num_val, "videos": self.num_videos}[split]

    def split_seed(self, split: str) -> int:
        """Return the seed of a split: another one for each, from the one seed."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(SPLITS.index(split),))
        return int(sequence.generate_state(1, np.uint64)[0])

    def splits(self) -> list[str]:
        """Return the splits that are not empty."""
        return [split for split in SPLITS if self.count(split)]

    def slices(self, split: str) -> Iterator[Slice]:
        """Yield the slices of a split in order; a video is one by itself."""
        step = 1 if split == "videos" else SLICE_PICTURES
        for start in range(0, self.count(split), step):
            yield Slice(split, start, min(start + step, self.count(split)))

    def num_pictures(self, part: Slice) -> int:
        """Return how many files a slice writes."""
        return (part.stop - part.start) * (self.num_frames if part.split == "videos" else 1)

    def describe(self) -> dict[str, Any]:
        """Return what `scenes.json` says of a folder."""
        return {
            "generator": {"name": "lakesight scenes", "version": VERSION},
            "settings": self.model_dump(),
            "split_seeds": {split: self.split_seed(split) for split in self.splits()},
            "jpeg": {"quality": JPEG_QUALITY, "subsampling": "4:4:4"},
            "frames_per_s": FRAMES_PER_S,
            "categories": [
                {"class_id": class_id, "name": label, "num_keypoints": len(shape(label).points)}
                for class_id, label in enumerate(LABELS)
            ],
            "keypoint_slots": NUM_KEYPOINTS,
            "colours": list(COLOURS),
            "textures": list(TEXTURES),
            "tones": list(TONES),
        }
