"""Preprocessor configs as checkpoints write them, against transformers' own image processors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image as PillowImage

from lakesight.errors import UserError
from lakesight.models.base import Image
from lakesight.models.preprocessor import read_preprocessor
from lakesight.models.pretrained import Pixels

hf: Any = transformers  # typed only in part
CPU = torch.device("cpu")
MEAN, STD = [0.48, 0.45, 0.40], [0.26, 0.27, 0.28]
# As in openai/clip-vit-base-patch32, the oldest form: plain numbers, no rescaling named.
OLD_CLIP = {
    "crop_size": 24,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "resample": 3,
    "size": 24,
}
BLIP = {"size": {"height": 24, "width": 36}, "image_mean": MEAN, "image_std": STD, "resample": 3}
RT_DETR = {"size": {"height": 24, "width": 24}, "do_normalize": False, "do_pad": False}


def written(folder: Path, config: dict[str, Any], name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("processor", "config", "family"),
    [
        (hf.CLIPImageProcessorPil, OLD_CLIP, "image-text"),
        (hf.BlipImageProcessorPil, BLIP, "captioner"),
        (hf.RTDetrImageProcessorPil, RT_DETR, "detr"),
        (hf.RTDetrImageProcessorPil, {"size": RT_DETR["size"]}, "detr"),
    ],
)
def test_floats_are_those_of_transformers(
    processor: Any,
    config: dict[str, Any],
    family: str,
    tmp_path: Path,
    pictures: Callable[..., list[Image]],
) -> None:
    preprocessor = read_preprocessor(written(tmp_path, config), family)
    views = pictures(2, preprocessor.view.width, preprocessor.view.height)
    wanted = processor.from_pretrained(tmp_path)(images=views, return_tensors="pt")["pixel_values"]
    found = Pixels(preprocessor, CPU, torch.float32)(views)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_picture_of_another_size_is_resized_as_transformers_does(
    tmp_path: Path, pictures: Callable[..., list[Image]]
) -> None:
    preprocessor = read_preprocessor(written(tmp_path, BLIP), "captioner")
    view = preprocessor.view
    assert (view.fit, view.interpolation) == ("squash", "bicubic")
    (original,) = pictures(1, 90, 70)
    processor = hf.BlipImageProcessorPil.from_pretrained(tmp_path)
    wanted = processor(images=original, return_tensors="pt")["pixel_values"]
    drawn = PillowImage.fromarray(original).resize(
        (view.width, view.height), PillowImage.Resampling.BICUBIC
    )
    found = Pixels(preprocessor, CPU, torch.float32)([np.asarray(drawn)])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_each_form_of_size_becomes_its_view(tmp_path: Path) -> None:
    edges = {**OLD_CLIP, "size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
    for config in (OLD_CLIP, edges):
        view = read_preprocessor(written(tmp_path, config), "captioner").view
        assert (view.width, view.height, view.fit) == (24, 24, "crop")
    view = read_preprocessor(written(tmp_path, BLIP), "captioner").view
    assert (view.width, view.height, view.fit) == (36, 24, "squash")
    naflex = {"patch_size": 8, "max_num_patches": 30, "image_mean": MEAN, "image_std": STD}
    view = read_preprocessor(written(tmp_path, naflex), "captioner").view
    assert (view.width, view.height, view.fit) == (40, 40, "squash")


def test_the_processors_own_file_is_read_where_transformers_5_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    image_processor = hf.BlipImageProcessorPil.from_pretrained(written(tmp_path / "source", BLIP))
    vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    hf.BlipProcessor(image_processor, hf.BertTokenizer(vocab=vocab)).save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    assert read_preprocessor(tmp_path, "captioner") == read_preprocessor(
        tmp_path / "source", "captioner"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**BLIP, "resample": 1}, "Pillow's filter 1"),
        ({**BLIP, "do_resize": False}, "do_resize is false"),
        ({**BLIP, "do_pad": True}, "do_pad is true"),
        ({**BLIP, "size": {"shortest_edge": 800, "longest_edge": 1333}}, "without a centre crop"),
        ({**OLD_CLIP, "size": 32}, "crops 24 out of a picture resized to 32"),
        ({"patch_size": 8, "max_num_patches": 0}, "max_num_patches is 0"),
        ({"size": 24}, "no image_mean"),
    ],
)
def test_what_no_view_can_give_is_refused(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read_preprocessor(written(tmp_path, config), "captioner")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no preprocessor_config\.json"):
        read_preprocessor(tmp_path, "captioner")
