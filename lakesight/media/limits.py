"""How much one object may cost before it becomes an error row."""

from pydantic import BaseModel, ConfigDict, Field

MIB = 1 << 20


class Limits(BaseModel):
    """What decoding one object may take; beyond it the object is an error, never a crash."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_bytes: int = Field(default=64 * MIB, gt=0)
    """Size of the encoded object."""
    max_pixels: int = Field(default=100_000_000, gt=0)
    """Width times height as the header states them, checked before a pixel is decoded."""
    max_seconds: float = Field(default=10.0, gt=0)
    """CPU time from handing the object to a child process until its views are there; six times as
    much wall time, for what waits rather than works."""
    max_memory_bytes: int = Field(default=2048 * MIB, gt=0)
    """Address space that decoding may use on top of what an idle child process has."""
