"""What OpenAI's clients send, and what they read: the JSON of a chat and of embeddings."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lakesight.online.embed import MAX_CHARACTERS, MAX_TEXTS

WOULD_COUNT = (
    *("stop", "tools", "functions", "response_format", "logprobs", "logit_bias"),
    *("frequency_penalty", "presence_penalty"),
)
"""What a chat cannot be asked for: another text would come than was wanted."""
PICTURE = "data:image/"
"""How a text begins that is a picture."""


def _short_text(text: str) -> str:
    if len(text) > MAX_CHARACTERS and not text.startswith(PICTURE):
        raise ValueError(f"a text has at most {MAX_CHARACTERS} characters")
    return text


Input = Annotated[str, Field(min_length=1), AfterValidator(_short_text)]


class Given(BaseModel):
    """What OpenAI's clients send; what is not known here is refused only where it would count."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class ImageUrl(Given):
    """Where a picture is."""

    url: str
    """A `data:image/…;base64,…` URI, or an address that the server allows."""
    detail: str | None = None


class Part(Given):
    """A part of a message."""

    type: Literal["text", "image_url"]
    text: str | None = Field(default=None, max_length=2000)
    image_url: ImageUrl | None = None


class Message(Given):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(fail_fast=True)] | None = None


class StreamOptions(Given):
    """How a stream ends."""

    include_usage: bool = False


class ChatRequest(Given):
    """A picture and a text."""

    model: str = Field(max_length=128)
    messages: list[Message] = Field(min_length=1, max_length=64, fail_fast=True)
    """The last message of the user holds the picture and the text; others are not read."""
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int = Field(default=1, ge=1, le=8)
    """More than 1 gives the n best captions."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0, or left out: the likeliest text, by beam search. Above: drawn, of captions only."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_wish_is_passed_over(cls, given: Any) -> Any:
        for name in WOULD_COUNT if isinstance(given, dict) else ():
            if given.get(name) and given[name] != {"type": "text"}:
                raise ValueError(f"{name} is not known here: leave it out")
        return given


class EmbeddingsRequest(Given):
    """Texts to embed."""

    model: str = Field(max_length=128)
    input: Input | Annotated[list[Input], Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True)]
    """A text or several; a `data:image/…;base64,…` URI is a picture."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    """As many as the model has, or left out."""


class Choice(BaseModel):
    """One text."""

    index: int
    message: dict[str, Any] = Field(examples=[{"role": "assistant", "content": "a red circle"}])
    finish_reason: str = "stop"
    """`length` where the text was cut."""


class Usage(BaseModel):
    """Tokens of the words that came and went, counted from the texts; the picture has none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(BaseModel):
    """What was written."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Embedding(BaseModel):
    """One vector."""

    index: int
    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str


class Embeddings(BaseModel):
    """Vectors in the order of the input."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: dict[str, int]
