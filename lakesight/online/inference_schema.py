"""What the Open Inference Protocol's clients send, and what they read: its JSON.

As https://github.com/kserve/open-inference-protocol describes it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

IMAGE = "image"
"""The one input that a detector takes."""


class RequestTensor(BaseModel):
    """One tensor that is sent."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str = Field(examples=[IMAGE])
    datatype: Literal["BYTES", "UINT8"]
    shape: list[int] = Field(examples=[[1]], min_length=1, max_length=4, fail_fast=True)
    """`[N]` of BYTES; `[N, height, width, 3]` of UINT8."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] = Field(default_factory=list)
    """Nested as the shape says, or flat."""


class RequestedOutput(BaseModel):
    """One tensor that is asked for."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferenceRequest(BaseModel):
    """What is to be looked at."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    id: str | None = Field(default=None, max_length=256)
    """Comes back in the answer."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[RequestTensor] = Field(min_length=1, max_length=1, fail_fast=True)
    outputs: Annotated[list[RequestedOutput], Field(fail_fast=True)] | None = None
    """All that there are unless given."""


class ResponseTensor(BaseModel):
    """One tensor of an answer."""

    name: str = Field(examples=["scores"])
    shape: list[int] = Field(examples=[[2]])
    datatype: str = Field(examples=["FP32"])
    data: list[Any] = Field(examples=[[0.93, 0.71]])


class InferenceResponse(BaseModel):
    """What was found."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseTensor]


class TensorMetadata(BaseModel):
    """What a tensor is like; -1 where its size varies."""

    name: str
    datatype: str
    shape: list[int]


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the process works."""

    live: bool


class Ready(BaseModel):
    """Whether it can be asked."""

    ready: bool


class ModelReady(Ready):
    """Whether a model can be asked."""

    name: str


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
