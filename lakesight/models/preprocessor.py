"""What a transformers checkpoint asks of a picture: its view, and how pixels become floats."""

import json
import math
from pathlib import Path
from typing import Any, Literal

from lakesight.errors import UserError
from lakesight.media.view import Fit, ImageView, Interpolation
from lakesight.models.base import Frozen

INTERPOLATIONS: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic", 4: "area"}
"""Pillow's resampling codes, as the configs write them, to those that views have."""

Channels = tuple[float, float, float]


class Preprocessor(Frozen):
    """A picture's way into the model: `(uint8 * scale - mean) / std`, per RGB channel."""

    view: ImageView
    scale: float = 1 / 255
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)


def read_preprocessor(
    folder: Path, *, resample: Literal[2, 3] = 3, normalize: bool = True
) -> Preprocessor:
    """Read `preprocessor_config.json`, or the image part of `processor_config.json`.

    `resample` and `normalize` are what the family's own image processor takes where the file is
    silent. Raises `UserError` where the checkpoint wants pixels that no fixed-size view can give.
    """
    config = _read(folder)
    code = int(config.get("resample", resample))
    if code not in INTERPOLATIONS:
        raise UserError(
            f"{folder.name} resizes with Pillow's filter {code}: expected 2 (bilinear), "
            "3 (bicubic) or 4 (box); change `resample` in its preprocessor_config.json"
        )
    fit, height, width = _geometry(folder, config)
    return Preprocessor(
        view=ImageView(width=width, height=height, fit=fit, interpolation=INTERPOLATIONS[code]),
        **_normalisation(folder, config, normalize=normalize),
    )


def _read(folder: Path) -> dict[str, Any]:
    """Return the image processor's config; transformers 5 nests it in the processor's own file."""
    own, nested = folder / "preprocessor_config.json", folder / "processor_config.json"
    if own.is_file():
        config: dict[str, Any] = json.loads(own.read_text())
        return config
    if nested.is_file():
        config = json.loads(nested.read_text()).get("image_processor", {})
        if config:
            return config
    raise UserError(
        f"{folder.name} has no preprocessor_config.json: expected the file that says which size "
        "and normalisation the model was trained with; copy it beside config.json"
    )


def _geometry(folder: Path, config: dict[str, Any]) -> tuple[Fit, int, int]:
    """Return `(fit, height, width)`."""
    if not config.get("do_resize", True):
        raise _unsupported(folder, "do_resize is false, so pictures keep their own sizes")
    if config.get("do_pad") or config.get("pad_size"):
        raise _unsupported(folder, "do_pad is true, so the size varies with the picture")
    if "max_num_patches" in config:
        return "squash", *_patch_grid(folder, config)
    size = config.get("size")
    if config.get("do_center_crop"):
        return "crop", *_crop(folder, size, config.get("crop_size"))
    if isinstance(size, int):
        return "squash", size, size
    if isinstance(size, dict) and size.keys() >= {"height", "width"}:
        return "squash", int(size["height"]), int(size["width"])
    raise _unsupported(folder, f"size is {size!r} without a centre crop, so it is not fixed")


def _crop(folder: Path, size: Any, crop: Any) -> tuple[int, int]:
    """Return the height and width of a centre crop that fills the shortest edge."""
    edge = size.get("shortest_edge") if isinstance(size, dict) else size
    height, width = (crop["height"], crop["width"]) if isinstance(crop, dict) else (crop, crop)
    if not edge or edge != height or edge != width:
        raise _unsupported(folder, f"it crops {crop!r} out of a picture resized to {size!r}")
    return int(height), int(width)


def _patch_grid(folder: Path, config: dict[str, Any]) -> tuple[int, int]:
    """Return NaFlex's size for a square picture: the fullest square grid of patches."""
    side = math.isqrt(int(config["max_num_patches"])) * int(config.get("patch_size", 16))
    if side == 0:
        raise _unsupported(folder, f"max_num_patches is {config['max_num_patches']}")
    return side, side


def _normalisation(folder: Path, config: dict[str, Any], *, normalize: bool) -> dict[str, Any]:
    scale = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", normalize):
        return {"scale": scale}
    mean, std = config.get("image_mean"), config.get("image_std")
    if mean is None or std is None:
        raise UserError(
            f"{folder.name} normalises pixels but its preprocessor_config.json has no image_mean "
            "and image_std: expected three numbers each; add the ones it was trained with"
        )
    return {"scale": scale, "mean": tuple(mean), "std": tuple(std)}


def _unsupported(folder: Path, what: str) -> UserError:
    return UserError(
        f"{folder.name} cannot be used as it is: {what}; expected one fixed size, squashed or "
        "cropped from the centre. Set `size` (and `crop_size`) in its preprocessor_config.json"
    )
