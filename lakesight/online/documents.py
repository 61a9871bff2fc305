"""What OpenAPI says of bodies that the endpoints read themselves: four forms, with examples."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from lakesight.online.access import OPEN_PATHS
from lakesight.online.asking import FORM, JSON, Ask, AskOfPictures

REF = "#/components/schemas/{model}"
PICTURE = {"type": "string", "format": "binary"}
EXAMPLE_DATA = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
"""A picture of one pixel."""


def version() -> str:
    """Return the version of Lakesight; 0 where it runs from a checkout that is not installed."""
    try:
        return metadata.version("lakesight")
    except metadata.PackageNotFoundError:
        return "0"


def body(kind: type[BaseModel], examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a route says of its body, as `openapi_extra`; examples by what they show."""
    shown = {name: {"value": value} for name, value in examples.items()}
    content: dict[str, Any] = {
        JSON: {"schema": {"$ref": REF.format(model=kind.__name__)}, "examples": shown}
    }
    if issubclass(kind, Ask):
        content[FORM] = {"schema": {"type": "object", "properties": _fields(kind)}}
    if issubclass(kind, AskOfPictures):
        content["image/*"] = {"schema": PICTURE}
    return {"requestBody": {"required": True, "content": content}}


def _fields(kind: type[Ask]) -> dict[str, Any]:
    schema = kind.model_json_schema(ref_template=REF)
    fields: dict[str, Any] = schema["properties"]
    if fields.pop("images", None) is not None:
        fields = {"files": {"type": "array", "items": PICTURE}, **fields}
    return fields


def _ask_for_keys(described: dict[str, Any]) -> None:
    """Say that requests need a key, but for those that do not."""
    described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"key": []}]
    for path in OPEN_PATHS:
        for operation in described["paths"].get(path, {}).values():
            operation["security"] = []


def document(app: FastAPI, bodies: Sequence[type[BaseModel]]) -> None:
    """Have the app describe itself, the schemas of these bodies included."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            for one in bodies:
                own = one.model_json_schema(ref_template=REF)
                schemas |= own.pop("$defs", {})
                schemas[one.__name__] = own
            _ask_for_keys(described)
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # how FastAPI's own docs extend it
