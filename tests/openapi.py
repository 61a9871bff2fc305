"""Answers held against what `/openapi.json` says of them."""

from typing import Any

import httpx
import jsonschema


def check(said: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """Raise where an answer to a path is not of the form that the document gives it."""
    operation = said["paths"][path][answer.request.method.lower()]
    content = operation["responses"][str(answer.status_code)]["content"]
    schema = content[answer.headers["content-type"].partition(";")[0]]["schema"]
    assert schema, f"nothing is said of {path}"
    jsonschema.validate(answer.json(), {**schema, "components": said["components"]})
