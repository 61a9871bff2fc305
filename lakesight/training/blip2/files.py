"""What the .json files of captions and questions hold: COCO's, and LAVIS' lists."""

from pydantic import BaseModel, Field, FiniteFloat


class Image(BaseModel, extra="allow"):
    """One of `images` of COCO's captions."""

    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class Caption(BaseModel):
    """One of `annotations` of COCO's captions."""

    image_id: int | str
    caption: str


class Captions(BaseModel):
    """COCO's captions, https://cocodataset.org/#format-data."""

    images: tuple[Image, ...]
    annotations: tuple[Caption, ...]


class Answer(BaseModel):
    """One person's answer."""

    answer: str


class Asked(BaseModel):
    """A question: of Visual Genome, OK-VQA or LAVIS in one file with its answers."""

    image: str
    question: str
    answer: str | tuple[str, ...] | tuple[Answer, ...]
    kind: str | None = None


class Described(BaseModel):
    """What is said of a part of a picture, in pixels: of Visual Genome's region descriptions."""

    phrase: str
    x: FiniteFloat
    y: FiniteFloat
    width: FiniteFloat = Field(gt=0)
    height: FiniteFloat = Field(gt=0)


class DescribedParts(BaseModel):
    """What is said of parts of a picture, whatever else is."""

    image: str
    regions: tuple[Described, ...] | None = None


class Captioned(BaseModel):
    """A picture's caption, or captions: of LAVIS."""

    image: str
    caption: str | tuple[str, ...]


class CaptionedRegions(Captioned):
    """The same, with what is said of parts of the picture."""

    regions: tuple[Described, ...] | None = None


class AskedRegions(Asked):
    """A question, with what is said of parts of its picture."""

    regions: tuple[Described, ...] | None = None
