"""How a YOLO is trained: beside the loop's settings, what pictures it sees and what counts."""

from pydantic import Field

from lakesight.training.settings import LoopSettings
from lakesight.training.yolo.augment import Augmentation
from lakesight.training.yolo.losses import LossWeights


class TrainSettings(LoopSettings):
    """How long, how fast, and with what pictures to train."""

    image_size: int = Field(default=640, ge=32, multiple_of=32)
    """Side of the square that the network sees, in pixels."""
    close_mosaic: int = Field(default=10, ge=0)
    """So many last epochs show whole pictures only: no mosaic, mixup or copy-paste."""
    multi_scale: float = Field(default=0.0, ge=0, lt=1)
    """Largest relative change of the image size, drawn anew for every step."""
    freeze: int = Field(default=0, ge=0)
    """So many first layers keep their weights."""
    augmentation: Augmentation = Augmentation()
    loss: LossWeights = LossWeights()
