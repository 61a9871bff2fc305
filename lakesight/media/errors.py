"""Why an object gave no pixels."""

from typing import Literal

ErrorType = Literal[
    "empty",
    "too many bytes",
    "too many pixels",
    "unsupported format",
    "truncated",
    "undecodable",
    "out of memory",
    "timeout",
    "crashed",
]


class MediaError(Exception):
    """One object that could not be decoded: a value that travels beside its good neighbours.

    Can be pickled. `type` is one of `ErrorType`, `message` is one line for a person.
    """

    def __init__(self, kind: ErrorType, message: str) -> None:
        super().__init__(kind, message)
        self.type: ErrorType = kind
        self.message = message

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"
