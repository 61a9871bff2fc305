"""Generated pictures and short videos whose truth is known exactly: shapes on backgrounds.

In the manner of CLEVR (arXiv:1612.06890) and ShapeWorld (arXiv:1704.04517), for every task that
Lakesight has: boxes, masks, keypoints, rotated boxes, classes, captions, questions, identities.
`generate(seed, index, size)` draws a picture, `frames(seed, index, size, num_frames)` a video.
"""

from lakesight.scenes.drawing import NUM_KEYPOINTS, Drawing, SceneObject
from lakesight.scenes.scene import Scene, generate
from lakesight.scenes.shapes import LABELS
from lakesight.scenes.video import Frame, frames

__all__ = [
    "LABELS",
    "NUM_KEYPOINTS",
    "Drawing",
    "Frame",
    "Scene",
    "SceneObject",
    "frames",
    "generate",
]
