"""`POST /v1/embeddings`, for OpenAI's clients: vectors of texts, and of pictures among them."""

from fastapi import APIRouter, Request, Response

from lakesight.online.answering import as_json, results
from lakesight.online.asking import Picture, json_of, pictures
from lakesight.online.documents import body
from lakesight.online.embed import embed_texts, packed
from lakesight.online.openai_schema import PICTURE, Embeddings, EmbeddingsRequest
from lakesight.online.problems import RESPONSES, Problem
from lakesight.online.shop import Step
from lakesight.online.visit import visit

router = APIRouter(tags=["openai"], responses=RESPONSES)


@router.post(
    "/v1/embeddings",
    summary="Embed texts, as OpenAI's clients do",
    responses={200: {"model": Embeddings}},
    openapi_extra=body(EmbeddingsRequest, {"texts": {"model": "clip", "input": ["a red bus"]}}),
)
async def embeddings(request: Request) -> Response:
    """Return the vectors of texts, and of pictures that are `data:` URIs."""
    asked = await json_of(request, EmbeddingsRequest)
    inputs = [asked.input] if isinstance(asked.input, str) else asked.input
    is_picture = [one.startswith(PICTURE) for one in inputs]
    texts = tuple(one for one, other in zip(inputs, is_picture, strict=True) if not other)
    given = [Picture(data=one) for one, other in zip(inputs, is_picture, strict=True) if other]
    sent = await pictures(request, given)
    async with visit(request) as here:
        if sent:
            here.count(sent)
        _, spec = here.choose("embed", asked.model)
        of_texts = iter(await embed_texts(here, spec, texts) if texts else [])
        looked = await here.shop.look(sent, [Step(spec)])
    for one in looked:
        results([one], [])  # a list of vectors has no place for an error
    of_pictures = iter([next(iter(one.seen.values())).value for one in looked])
    vectors = [next(of_pictures if other else of_texts) for other in is_picture]
    if asked.dimensions is not None and any(len(one) != asked.dimensions for one in vectors):
        raise Problem("invalid", f"the vectors have {len(vectors[0])} dimensions: leave it out")
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": packed(vector) if asked.encoding_format == "base64" else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    num = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": num, "total_tokens": num}
    return as_json({"object": "list", "model": asked.model, "data": data, "usage": usage})
