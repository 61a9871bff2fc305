"""What a transformers checkpoint asks of a picture: its view, and how pixels become floats."""

import math
from pathlib import Path
from typing import Any

from lakesight.errors import UserError, json_object
from lakesight.media.view import Fit, ImageView, Interpolation
from lakesight.models.base import Frozen

INTERPOLATIONS: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic", 4: "area"}
"""Pillow's resampling codes, as the configs write them, to those that views have."""

OWN_FILE = "preprocessor_config.json"
NESTED_FILE = "processor_config.json"

Channels = tuple[float, float, float]


class Preprocessor(Frozen):
    """A picture's way into the model: `(uint8 * scale - mean) / std`, per RGB channel."""

    view: ImageView
    scale: float = 1 / 255
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)


def read_preprocessor(folder: Path, family: str) -> Preprocessor:
    """Read what a local checkpoint asks of its pictures; see `parse_preprocessor`."""
    files = {name: folder / name for name in (OWN_FILE, NESTED_FILE)}
    texts = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    return parse_preprocessor(folder.name, texts, family)


def parse_preprocessor(title: str, files: dict[str, bytes], family: str) -> Preprocessor:
    """Parse `preprocessor_config.json`, or the image part of `processor_config.json`.

    `files` has the bytes of those of the two that exist. Raises `UserError` where the checkpoint
    wants pixels that no fixed-size view can give.
    """
    config = _config(title, files)
    usual = {"resample": 2, "do_normalize": False} if family == "detr" else {"resample": 3}
    config = {**usual, **config}  # what the family's own image processor takes for what is silent
    code = int(config["resample"])
    if code not in INTERPOLATIONS:
        raise UserError(
            f"{title} resizes with Pillow's filter {code}: expected 2 (bilinear), "
            "3 (bicubic) or 4 (box); change `resample` in its preprocessor_config.json"
        )
    fit, height, width = _geometry(title, config)
    return Preprocessor(
        view=ImageView(width=width, height=height, fit=fit, interpolation=INTERPOLATIONS[code]),
        **_normalisation(title, config),
    )


def _config(title: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Return the image processor's config; transformers 5 nests it in the processor's own file."""
    own, nested = (
        json_object(files.get(name, b"{}"), f"{title}/{name}") for name in (OWN_FILE, NESTED_FILE)
    )
    config: Any = own or nested.get("image_processor")
    if not config or not isinstance(config, dict):
        raise UserError(
            f"{title} has no {OWN_FILE}: expected the file that says which size and normalisation "
            "the model was trained with; copy it beside config.json"
        )
    return config


def _geometry(title: str, config: dict[str, Any]) -> tuple[Fit, int, int]:
    """Return `(fit, height, width)`."""
    if not config.get("do_resize", True):
        raise _unsupported(title, "do_resize is false, so pictures keep their own sizes")
    if config.get("do_pad") or config.get("pad_size"):
        raise _unsupported(title, "do_pad is true, so the size varies with the picture")
    if "max_num_patches" in config:
        return "squash", *_patch_grid(title, config)
    size = config.get("size")
    if config.get("do_center_crop"):
        return "crop", *_crop(title, size, config.get("crop_size"))
    if isinstance(size, int):
        return "squash", size, size
    if isinstance(size, dict) and size.keys() >= {"height", "width"}:
        return "squash", int(size["height"]), int(size["width"])
    raise _unsupported(title, f"size is {size!r} without a centre crop, so it is not fixed")


def _crop(title: str, size: Any, crop: Any) -> tuple[int, int]:
    """Return the height and width of a centre crop that fills the shortest edge."""
    edge = size.get("shortest_edge") if isinstance(size, dict) else size
    height, width = (crop["height"], crop["width"]) if isinstance(crop, dict) else (crop, crop)
    if not edge or edge != height or edge != width:
        raise _unsupported(title, f"it crops {crop!r} out of a picture resized to {size!r}")
    return int(height), int(width)


def _patch_grid(title: str, config: dict[str, Any]) -> tuple[int, int]:
    """Return NaFlex's size for a square picture: the fullest square grid of patches."""
    side = math.isqrt(int(config["max_num_patches"])) * int(config.get("patch_size", 16))
    if side == 0:
        raise _unsupported(title, f"max_num_patches is {config['max_num_patches']}")
    return side, side


def _normalisation(title: str, config: dict[str, Any]) -> dict[str, Any]:
    scale = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", True):
        return {"scale": scale}
    mean, std = config.get("image_mean"), config.get("image_std")
    if mean is None or std is None:
        raise UserError(
            f"{title} normalises pixels but its preprocessor_config.json has no image_mean "
            "and image_std: expected three numbers each; add the ones it was trained with"
        )
    return {"scale": scale, "mean": tuple(mean), "std": tuple(std)}


def _unsupported(title: str, what: str) -> UserError:
    return UserError(
        f"{title} cannot be used as it is: {what}; expected one fixed size, squashed or "
        "cropped from the centre. Set `size` (and `crop_size`) in its preprocessor_config.json"
    )
