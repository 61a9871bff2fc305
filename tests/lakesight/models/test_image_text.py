"""Embeddings of pictures and texts, against transformers' own processors and models."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch
import transformers

from lakesight.errors import UserError
from lakesight.models import catalog
from lakesight.models.base import Image
from lakesight.models.guard import see
from lakesight.models.image_text import PICTURES_PER_CALL, TEXTS_PER_CALL

hf: Any = transformers  # typed only in part
Checkpoint = Callable[[str], Path]
Load = Callable[..., Any]
Pictures = Callable[..., list[Image]]
Floats = npt.NDArray[np.floating]

TEXTS = ["a red bus", "dog", "two cats asleep, 7"]
CLASSES = {
    "clip": (hf.CLIPImageProcessorPil, hf.CLIPModel),
    "siglip": (hf.SiglipImageProcessorPil, hf.SiglipModel),
    "siglip2": (hf.Siglip2ImageProcessorPil, hf.Siglip2Model),
}
EVERY = [*CLASSES, "blip-itm", "blip2-itc"]


@pytest.fixture(scope="module")
def views(pictures: Pictures) -> list[Image]:
    return pictures(3)


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return pa.table({"width": [32] * 3, "height": [32] * 3})


def unit(vectors: torch.Tensor) -> Floats:
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


@torch.inference_mode()
def own_images(name: str, folder: Path, views: list[Image]) -> Floats:
    processor, model = (part.from_pretrained(folder) for part in CLASSES[name])
    inputs = processor(images=views, return_tensors="pt")
    return unit(model.eval().get_image_features(**inputs).pooler_output)


@torch.inference_mode()
def text_features(name: str, folder: Path, texts: list[str]) -> Any:
    tokenizer, model = (
        hf.AutoTokenizer.from_pretrained(folder),
        CLASSES[name][1].from_pretrained(folder),
    )
    # The padding that each model's documentation asks for; SigLIP takes no mask.
    if name == "clip":
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
    else:
        inputs = tokenizer(texts, padding="max_length", max_length=20, return_tensors="pt")
        inputs = {"input_ids": inputs["input_ids"]}
    return model.eval().get_text_features(**inputs)


def own_texts(name: str, folder: Path, texts: list[str]) -> Floats:
    return unit(text_features(name, folder, texts).pooler_output)


@torch.inference_mode()
def own_itc(folder: Path, views: list[Image], texts: list[str]) -> Any:
    """The forward pass of transformers' retrieval model: scores, query vectors, text vectors."""
    model = hf.Blip2ForImageTextRetrieval.from_pretrained(folder).eval()
    processor = hf.Blip2Processor(
        hf.BlipImageProcessorPil.from_pretrained(folder),
        hf.AutoTokenizer.from_pretrained(folder),
        num_query_tokens=model.config.num_query_tokens,
    )
    return model(**processor(images=views, text=texts, padding=True, return_tensors="pt"))


@pytest.mark.parametrize("name", CLASSES)
def test_vectors_are_those_of_transformers(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    folder = checkpoint(name)
    model = load(folder, vector_dtype="float32")
    wanted = own_images(name, folder, views)
    column = model.predict(views, rows)
    assert column.type == model.output.type == pa.list_(pa.float32(), wanted.shape[1])
    np.testing.assert_allclose(np.array(column.to_pylist()), wanted, atol=1e-5)
    np.testing.assert_allclose(model.embed_text(TEXTS), own_texts(name, folder, TEXTS), atol=1e-5)


def test_blip2_scores_are_those_of_transformers(
    checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    folder = checkpoint("blip2-itc")
    model = load(folder, vector_dtype="float32", queries="all")
    wanted = own_itc(folder, views, TEXTS)
    assert wanted.logits_per_image.std() > 0.05  # the tiny model does tell pictures apart
    scores = model.similarity(views, TEXTS)
    np.testing.assert_allclose(scores, wanted.logits_per_image.numpy(), atol=1e-5)
    column = model.predict(views, rows)
    assert model.output == pa.field("embeddings", pa.list_(pa.list_(pa.float32(), 16)))
    assert column.type == model.output.type
    np.testing.assert_allclose(np.array(column.to_pylist()), wanted.image_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(model.embed_text(TEXTS), wanted.text_embeds.numpy(), atol=1e-5)


def test_one_blip2_vector_is_the_normalised_mean_of_its_queries(
    checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    folder = checkpoint("blip2-itc")
    model = load(folder, vector_dtype="float32")
    wanted = unit(own_itc(folder, views, TEXTS).image_embeds.mean(dim=1))
    column = model.predict(views, rows)
    assert model.output == pa.field("embedding", pa.list_(pa.float32(), 16))
    np.testing.assert_allclose(np.array(column.to_pylist()), wanted, atol=1e-5)


def test_clip_similarity_is_the_logits_without_their_temperature(
    checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    folder = checkpoint("clip")
    processor, model = (part.from_pretrained(folder) for part in CLASSES["clip"])
    inputs = hf.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        out = model.eval()(**inputs, **processor(images=views, return_tensors="pt"))
        wanted = out.logits_per_image / model.logit_scale.exp()
    np.testing.assert_allclose(load(folder).similarity(views, TEXTS), wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_vectors_keep_their_length(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    column = load(checkpoint(name)).predict(views, rows)
    assert column.type.value_type == pa.float16()
    vectors = np.array(column.to_pylist(), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", EVERY)
def test_half_precision_weights_give_nearly_the_same_vectors(
    name: str, dtype: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    exact, rough = (
        load(checkpoint(name), dtype=one).embed_images(views) for one in ("float32", dtype)
    )
    assert (exact * rough).sum(axis=-1).min() > 0.99


@pytest.mark.parametrize("name", ["blip-itm", "blip2-itc"])
def test_heads_are_finer_than_the_weights_of_half_the_bytes(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    """What ranks has no ties that bfloat16 makes: of 8 bits few logits would differ."""
    model = load(checkpoint(name), dtype="bfloat16")
    texts = model.extract_features(texts=TEXTS, mode="text").values
    logits = model.match_logits(model.see_features(views), TEXTS)
    for found in (model.embed_images(views), texts, logits):
        assert (torch.from_numpy(found).bfloat16().float().numpy() != found).mean() > 0.9


def test_numbers_that_are_not_finite_are_errors(
    checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    model = hf.CLIPModel.from_pretrained(checkpoint("clip"))
    model.visual_projection.weight.data[0, 0] = float("nan")
    shutil.copytree(checkpoint("clip"), folder)
    model.save_pretrained(folder)
    seen = see(load(folder), views, rows, max_batch=4)
    assert seen.values.null_count == 3
    assert {str(error)[:39] for error in seen.errors.values()} == {
        "the model gave numbers that are not fin"
    }


@pytest.mark.parametrize("name", EVERY)
def test_neither_pictures_nor_texts_depend_on_their_neighbours(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model = load(checkpoint(name))
    alone = np.concatenate([model.embed_text([text]) for text in TEXTS])
    np.testing.assert_allclose(model.embed_text(TEXTS), alone, atol=1e-5)
    seen = np.concatenate([model.embed_images([view]) for view in views])
    np.testing.assert_allclose(model.embed_images(views), seen, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_text_beyond_the_context_is_cut(name: str, checkpoint: Checkpoint, load: Load) -> None:
    model = load(checkpoint(name))
    long = "red bus " * 40
    vectors = model.embed_text([long, long + "and a dog"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_no_pictures_and_no_texts_keep_type_and_width(
    name: str, checkpoint: Checkpoint, load: Load, rows: pa.Table
) -> None:
    model = load(checkpoint(name))
    assert model.predict([], rows.slice(0, 0)).type == model.output.type
    assert model.embed_text([]).shape == (0, model.output.type.list_size)


def test_more_texts_than_one_call_takes_stay_in_order(checkpoint: Checkpoint, load: Load) -> None:
    model = load(checkpoint("clip"))
    texts = [f"bus {number}" for number in range(300)]
    vectors = model.embed_text(texts)
    np.testing.assert_allclose(vectors[[0, 299]], model.embed_text(["bus 0", "bus 299"]), atol=1e-5)


def test_all_queries_of_a_model_with_one_vector_are_refused(
    checkpoint: Checkpoint, load: Load
) -> None:
    with pytest.raises(UserError, match="has one vector a picture"):
        load(checkpoint("clip"), queries="all")


def test_gemmas_tokenizer_is_given_lower_case(checkpoint: Checkpoint, load: Load) -> None:
    model = load(checkpoint("siglip2"))
    np.testing.assert_allclose(*(model.embed_text([t]) for t in ("a Red BUS", "a red bus")))


def test_a_folder_without_a_tokenizer_says_so(
    checkpoint: Checkpoint, tmp_path: Path, load: Load
) -> None:
    folder = tmp_path / "mute"
    shutil.copytree(checkpoint("clip"), folder, ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(UserError, match="has no tokenizer"):
        load(folder)


def test_another_model_type_is_refused(checkpoint: Checkpoint, tmp_path: Path, load: Load) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(checkpoint("clip"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "altclip"}))
    with pytest.raises(UserError, match="one of clip, siglip, siglip2, blip, blip-2"):
        load(folder)


PAIRS = {
    "blip-itm": (hf.BlipForImageTextRetrieval, "use_itm_head"),
    "blip2-itc": (hf.Blip2ForImageTextRetrieval, "use_image_text_matching_head"),
}


class Pairing:
    """A retrieval checkpoint by transformers alone."""

    def __init__(self, name: str, folder: Path, views: list[Image]) -> None:
        kind, self.flag = PAIRS[name]
        self.model = kind.from_pretrained(folder).eval()
        images = hf.BlipImageProcessorPil.from_pretrained(folder)
        tokenizer = hf.AutoTokenizer.from_pretrained(folder)
        self.inputs = images(images=views, return_tensors="pt")
        self.inputs |= tokenizer(TEXTS, padding=True, return_tensors="pt")
        self.inputs.pop("token_type_ids", None)
        self.model.config.image_token_index = None  # texts without placeholders

    @torch.inference_mode()
    def __call__(self, *, matching: bool) -> Any:
        return self.model(**self.inputs, **{self.flag: matching})


def matched(out: Any) -> Floats:
    logits = out.itm_score if hasattr(out, "itm_score") else out.logits_per_image
    return np.asarray(logits.softmax(dim=1)[:, 1])


@pytest.mark.parametrize("name", PAIRS)
def test_matching_is_that_of_transformers(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    own = Pairing(name, checkpoint(name), views)
    found = load(checkpoint(name)).match(views, TEXTS)
    np.testing.assert_allclose(found, matched(own(matching=True)), atol=1e-5)
    assert found.std() > 1e-3


def test_features_of_blip_are_those_of_transformers(
    checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model, own = load(checkpoint("blip-itm")), Pairing("blip-itm", checkpoint("blip-itm"), views)
    apart, both = own(matching=False), own(matching=True)
    patches = model.extract_features(views, level="hidden")
    np.testing.assert_allclose(patches.values, apart.last_hidden_state, atol=1e-5)
    tokens = model.extract_features(texts=TEXTS, mode="text", level="hidden")
    mask = own.inputs["attention_mask"].bool().numpy()
    np.testing.assert_array_equal(tokens.mask, mask)
    np.testing.assert_allclose(tokens.values[mask], apart.question_embeds.numpy()[mask], atol=1e-5)
    pairs = model.extract_features(views, TEXTS, mode="multimodal", level="hidden")
    wanted = both.question_embeds.numpy()[mask]
    np.testing.assert_allclose(pairs.values[mask], wanted, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(model.similarity(views, TEXTS), apart.itm_score, atol=1e-5)


def test_features_of_blip2_are_those_of_transformers(
    checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    folder = checkpoint("blip2-itc")
    model, own = load(folder), Pairing("blip2-itc", folder, views)
    apart, both = own(matching=False), own(matching=True)
    queries = model.extract_features(views)
    np.testing.assert_allclose(queries.values, apart.image_embeds, atol=1e-5)
    with torch.inference_mode():  # the same forward pass gives its vision tower's states alone
        hidden = own.model.qformer(
            query_embeds=own.model.query_tokens.expand(len(views), -1, -1),
            encoder_hidden_states=apart.vision_model_output.last_hidden_state,
        ).last_hidden_state
        own_vectors = unit(own.model.vision_projection(hidden))
    np.testing.assert_allclose(own_vectors, apart.image_embeds, atol=1e-5)
    found = model.extract_features(views, level="hidden")
    np.testing.assert_allclose(found.values, hidden, atol=1e-5)
    words = model.extract_features(texts=TEXTS, mode="text")
    np.testing.assert_allclose(words.values, apart.text_embeds, atol=1e-5)
    tokens = model.extract_features(texts=TEXTS, mode="text", level="hidden")
    np.testing.assert_allclose(tokens.values, apart.text_model_output.last_hidden_state, atol=1e-5)
    pairs = model.extract_features(views, TEXTS, mode="multimodal", level="hidden")
    wanted = both.text_model_output.last_hidden_state[:, :6]
    np.testing.assert_allclose(pairs.values, wanted, atol=1e-5)


@pytest.mark.parametrize("name", CLASSES)
def test_features_of_two_towers_are_those_of_transformers(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    folder = checkpoint(name)
    model = load(folder)
    found = model.extract_features(views)
    assert found.values.shape[:2] == (3, 1)
    np.testing.assert_allclose(found.values[:, 0], own_images(name, folder, views), atol=1e-5)
    processor, own = (part.from_pretrained(folder) for part in CLASSES[name])
    with torch.inference_mode():
        inputs = processor(images=views, return_tensors="pt")
        states = own.eval().get_image_features(**inputs).last_hidden_state
    hidden = model.extract_features(views, level="hidden")
    np.testing.assert_allclose(hidden.values, states, atol=1e-5)
    words = model.extract_features(texts=TEXTS, mode="text", level="hidden")
    texts = text_features(name, folder, TEXTS).last_hidden_state.numpy()
    seen = np.ones(texts.shape[:2], bool) if words.mask is None else words.mask
    np.testing.assert_allclose(words.values[seen], texts[seen], atol=1e-5)
    with pytest.raises(UserError, match="never looks at a picture and a text together"):
        model.extract_features(views, TEXTS, mode="multimodal", level="hidden")
    with pytest.raises(UserError, match="never looks"):
        model.match(views, TEXTS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "text"}, "needs texts"),
        ({"mode": "image", "texts": ["a"]}, "needs images"),
        ({"mode": "multimodal"}, "no projected features"),
        ({"mode": "multimodal", "level": "hidden"}, "needs texts"),
        ({"mode": "multimodal", "level": "hidden", "texts": ["a"]}, "as many pictures as texts"),
    ],
)
def test_features_that_cannot_be_had_are_refused(
    given: dict[str, Any], message: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    images = () if "needs images" in message else views
    with pytest.raises(UserError, match=message):
        load(checkpoint("blip2-itc")).extract_features(images, **given)


@pytest.mark.parametrize("name", PAIRS)
def test_logits_of_matching_are_those_of_transformers(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model, own = load(checkpoint(name)), Pairing(name, checkpoint(name), views)
    out = own(matching=True)
    wanted = out.itm_score if hasattr(out, "itm_score") else out.logits_per_image
    found = model.match_logits(model.see_features(views), TEXTS)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert model.match_logits(np.empty((0, *found.shape), np.float32), []).shape == (0, 2)


@pytest.mark.parametrize("name", EVERY)
def test_an_array_that_is_filled_anew_is_seen_anew(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model = load(checkpoint(name))
    camera = views[0].copy()
    first = model.embed_images([camera])
    camera[:] = views[1]
    second = model.embed_images([camera])
    np.testing.assert_allclose(second, model.embed_images(views[1:2]), atol=1e-5)
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("name", EVERY)
def test_more_pictures_than_one_call_takes_go_through_in_parts(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], pictures: Pictures
) -> None:
    model = load(checkpoint(name))
    own = getattr(model._towers, "_model", None) or model._towers.model.retrieval
    sizes: list[int] = []
    own.vision_model.register_forward_hook(
        lambda *given: sizes.append(len(given[2].last_hidden_state))
    )
    many = [*pictures(2 * PICTURES_PER_CALL), *views]  # the last ones are those of `views`
    texts = [*["a red bus"] * (len(many) - len(views)), *TEXTS]

    def agrees(found: Floats, alone: Floats) -> None:
        assert len(found) == len(many)
        np.testing.assert_allclose(found[-len(views) :], alone, atol=1e-5)

    agrees(model.embed_images(many), model.embed_images(views))
    for level in ("projected", "hidden"):
        found, alone = (model.extract_features(one, level=level) for one in (many, views))
        agrees(found.values, alone.values)
    if name in PAIRS:
        agrees(model.match(many, texts), model.match(views, TEXTS))
        agrees(model.see_features(many), model.see_features(views))
        pairs = {"mode": "multimodal", "level": "hidden"}
        found = model.extract_features(many, texts, **pairs)
        alone = model.extract_features(views, TEXTS, **pairs)
        agrees(found.values, alone.values)
        assert (found.mask is None) == (alone.mask is None)
    assert max(sizes) == PICTURES_PER_CALL


def test_more_texts_than_one_call_takes_are_padded_to_the_longest(
    checkpoint: Checkpoint, load: Load
) -> None:
    model = load(checkpoint("clip"))
    texts = ["bus"] * TEXTS_PER_CALL + ["two cats asleep, 7"]
    found = model.extract_features(texts=texts, mode="text", level="hidden")
    alone = model.extract_features(texts=texts[:1], mode="text", level="hidden")
    longest = model.extract_features(texts=texts[-1:], mode="text", level="hidden")
    assert found.values.shape[1] == longest.values.shape[1] > alone.values.shape[1]
    lengths = found.mask.sum(axis=1)
    assert (lengths[0], lengths[-1]) == (alone.mask.sum(), longest.mask.sum())
    np.testing.assert_allclose(found.values[0][found.mask[0]], alone.values[0], atol=1e-5)
    np.testing.assert_allclose(found.values[-1], longest.values[0], atol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_what_was_seen_matches_as_the_picture_does(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image], rows: pa.Table
) -> None:
    model = load(checkpoint(name), write="features")
    column = model.predict(views, rows)
    assert (model.output.name, column.type) == ("features", model.output.type)
    kept = np.array(column.to_pylist(), np.float16)
    assert kept.shape[1:] == model._towers.seen_shape
    many = np.repeat(kept, 50, axis=0), [text for text in TEXTS for _ in range(50)]
    found = model.match_features(*many).reshape(3, 50)  # more pairs than one call takes
    expected = model.match(views, TEXTS)
    np.testing.assert_allclose(found, np.repeat(expected[:, None], 50, 1), atol=2e-3)
    assert model.match_features(kept[:0], []).shape == (0,)


@pytest.mark.parametrize("name", PAIRS)
def test_a_picture_with_many_texts_is_seen_once(
    name: str, checkpoint: Checkpoint, load: Load, views: list[Image]
) -> None:
    model = load(checkpoint(name))
    seen = [(view, text) for view in views for text in TEXTS]
    expected = np.concatenate([model.match([view], [text]) for view, text in seen])
    passes: list[int] = []
    towers: Any = model._towers
    network = towers._model if name.startswith("blip-") else towers.model.retrieval
    tower = network.vision_model
    tower.register_forward_hook(lambda *given: passes.append(len(given[2].last_hidden_state)))
    found = model.match(*zip(*seen, strict=True))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert passes == [len(views)]
    passes.clear()
    model.match(views[:1] * 200, TEXTS[:1] * 200)  # more pairs than one call takes
    assert passes == [1]


def test_what_never_looks_at_both_keeps_no_features(checkpoint: Checkpoint, load: Load) -> None:
    with pytest.raises(UserError, match="never looks at a picture and a text together"):
        load(checkpoint("clip"), write="features")


def test_a_picture_is_seen_once_for_vectors_and_features(
    checkpoint: Checkpoint, views: list[Image], rows: pa.Table
) -> None:
    name = str(checkpoint("blip2-itc"))
    given = [{"device": "cpu", "queries": "all"}, {"device": "cpu", "write": "features"}]
    specs = [catalog.spec(name, None, options, "auto", ["unknown"]) for options in given]
    models: list[Any] = catalog.build_all(specs)
    passes: list[int] = []
    tower = models[0]._towers.model.retrieval.vision_model
    tower.register_forward_hook(lambda *given: passes.append(len(given[2].last_hidden_state)))
    found = [model.predict(views, rows) for model in models]
    assert passes == [len(views)]
    assert found == [catalog.build(spec).predict(views, rows) for spec in specs]
    models[1].predict(views[:2], rows.slice(0, 2))
    assert passes == [len(views), 2]
