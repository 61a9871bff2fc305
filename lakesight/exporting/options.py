"""What exports are held against, and what they may lose: of the command and of the Python API."""

from pydantic import Field

from lakesight.models.base import Frozen
from lakesight.models.detection import NmsOptions


class ExportOptions(Frozen):
    """What exports are held against, and what is allowed."""

    pictures: str | None = None
    """Pictures to compare on: labelled data (its split val, for mAP too), a Lakesight output, or
    a source as of annotate. Generated scenes unless given."""
    images: str | None = None
    """Folder of the pictures that a COCO .json of --pictures names; its own folder unless given."""
    calibration: str | None = None
    """Pictures that int8 takes its ranges from (of labelled data the split train); those of
    --pictures, else generated scenes."""
    calibration_images: str | None = None
    """The same for a .json of --calibration; that of --images unless given."""
    num_views: int = Field(default=16, ge=1)
    """Pictures whose numbers are compared one by one."""
    num_labelled: int = Field(default=200, ge=0)
    """Generated scenes for mAP, where the model's classes are theirs; 0 leaves mAP out."""
    num_calibration: int = Field(default=128, ge=1)
    """Pictures that int8 takes its ranges from."""
    max_map_loss: float = Field(default=0.01, ge=0)
    """mAP50-95 (of a classifier, top-1) that an export may lose against the weights; 1 takes it
    whatever it loses."""
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    """Inside onnx-nms: objects that score less are left out."""
    iou_threshold: float = Field(default=0.6, ge=0, le=1)
    """Inside onnx-nms: of two boxes of a class that overlap by more, the lower score goes."""
    max_detections: int = Field(default=300, ge=1)
    """Inside onnx-nms: the most objects of a picture."""

    @property
    def nms(self) -> NmsOptions:
        """Return the thresholds of formats with NMS inside."""
        return NmsOptions(
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
        )
