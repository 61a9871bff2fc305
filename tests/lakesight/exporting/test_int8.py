"""What int8 costs a trained model, on scenes that it never saw."""

from pathlib import Path

from lakesight.exporting.options import ExportOptions
from lakesight.exporting.run import export
from lakesight.models.base import Parity

FEW = ExportOptions(num_views=2, num_labelled=20, num_calibration=16, max_map_loss=0.05)


def test_a_trained_detector_survives_int8(tmp_path: Path) -> None:
    for done in export("starter-yolo-detect", ["openvino-int8", "onnx-int8"], tmp_path, FEW):
        parity = done.artefact.parity
        assert isinstance(parity, Parity)
        assert parity.map_before is not None
        assert parity.map_after is not None
        assert parity.map_before > 0.75
        assert parity.map_before - parity.map_after < 0.05
        assert parity.score > 1e-3, "it is not the network in f32"
