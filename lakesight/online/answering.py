"""What endpoints answer: one object a picture, with the very value that a row would hold."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from lakesight.online.opened import gravest
from lakesight.online.problems import Problem
from lakesight.online.shop import Looked
from lakesight.online.values import encode

UNREAD = {"fetch", "decode"}
"""Stages of an error that is of the picture, and of no model."""


class ErrorOfPicture(BaseModel):
    """Why a picture has no value: the same as a row's `error`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    stage: str
    """`fetch`, `decode`, or the kind of the model that failed."""
    type: str
    message: str


class OfPicture(BaseModel):
    """What every result says of its picture."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: str = Field(examples=["ok"])
    """`ok` or `error`."""
    width: int | None = Field(examples=[640])
    """Of the original in pixels, after EXIF rotation; so is `height`."""
    height: int | None = Field(examples=[480])
    format: str | None = Field(examples=["jpeg"])
    error: ErrorOfPicture | None = None


class Drawn(BaseModel):
    """A picture with objects drawn on it."""

    media_type: str = Field(examples=["image/jpeg"])
    data: str = Field(description="The file in base64.", examples=["/9j/4AAQSkZJRg…"])


def as_json(content: Any, status: int = 200) -> Response:
    """Return a response of plain values."""
    return Response(encode(content), status, media_type="application/json")


def results(looked: Sequence[Looked], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return an object for each picture; `columns` are null where there is no value.

    Raises Problem where every picture failed: then that is what the request is told.
    """
    found = [_result(one, columns) for one in looked]
    errors = [one.error for one in looked if one.error is not None]
    if looked and len(errors) == len(looked):
        unread = all(error.stage in UNREAD for error in errors)
        worst = gravest(errors)
        raise Problem(
            "unreadable-picture" if unread else "internal" if worst.ours else "invalid",
            f"{worst.type}: {worst.message}",
            members={"results": found},
        )
    return found


def _result(looked: Looked, columns: Sequence[str]) -> dict[str, Any]:
    values: Mapping[str, Any] = {name: seen.value for name, seen in looked.seen.items()}
    return {
        "status": "error" if looked.error else "ok",
        "width": looked.width,
        "height": looked.height,
        "format": looked.format,
        **dict.fromkeys(columns),
        **values,
        "error": looked.error.shown() if looked.error else None,
    }
