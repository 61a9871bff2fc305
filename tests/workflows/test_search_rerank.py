"""Search by words that looks again at the best, from what the index kept of them."""

import io
import json
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import lakesight
from indexes.search import Searcher
from lakesight.errors import UserError
from lakesight.models import catalog
from tests.annotating import run
from tests.lakesight.models import tiny
from tests.outputs import write_pictures
from tests.worded import write_rows
from workflows.index import Index
from workflows.search import Search

pytestmark = pytest.mark.usefixtures("shared_ray")

hf: Any = transformers  # typed only in part
TEXT = "a red bus"
NAMES = [f"{number}.jpg" for number in range(7)]
LICENCE = ("--allow-licence", "unknown")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a finder that is sure of everything: its probabilities are all 1, its logits not."""
    folder = tiny.write("blip2-itc", tmp_path_factory.mktemp("tiny") / "itc")
    weights = hf.Blip2ForImageTextRetrieval.from_pretrained(folder)
    with torch.no_grad():
        weights.itm_head.weight.mul_(10)
        weights.itm_head.bias.copy_(torch.tensor([-30.0, 30.0]))
    weights.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def output(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_pictures(str(folder / "source"), NAMES)
    words = ["annotate", str(folder / "source"), str(folder / "seen"), *LICENCE]
    words += ["--embed", model, "--embed", f"features={model}", "--set", "embed.queries=all"]
    run(*words, "--set", "features.write=features")
    Index(
        output=str(folder / "seen"),
        index=str(folder / "index"),
        column="embeddings",
        features="features",
    ).run()
    return folder


def found(index: Path, **more: Any) -> list[dict[str, Any]]:
    command = Search.model_validate({"index": str(index), "query": TEXT, "json": True} | more)
    with redirect_stdout(io.StringIO()) as printed:
        assert command.run() == 0
    return [json.loads(line) for line in printed.getvalue().splitlines()]


@torch.inference_mode()
def by_transformers(model: str, source: Path) -> dict[str, tuple[float, float]]:
    """Return of each picture by its URI the contrastive score and the logit of yes."""
    own = hf.Blip2ForImageTextRetrieval.from_pretrained(model).eval()
    own.config.image_token_index = None  # texts without placeholders
    paths = sorted(source.glob("*.jpg"))
    inputs = hf.BlipImageProcessorPil.from_pretrained(model)(
        images=[Image.open(path).convert("RGB") for path in paths], return_tensors="pt"
    )
    inputs |= hf.AutoTokenizer.from_pretrained(model)([TEXT] * len(paths), return_tensors="pt")
    inputs.pop("token_type_ids", None)
    pairs = own(**inputs, use_image_text_matching_head=True).logits_per_image  # (B, 2)
    cosines = own(**inputs, use_image_text_matching_head=False).logits_per_image  # (B, B)
    each = zip(cosines[:, 0].tolist(), pairs[:, 1].tolist(), strict=True)
    return {path.as_uri(): one for path, one in zip(paths, each, strict=True)}


def test_the_best_are_ranked_as_lavis_ranks_them(output: Path, model: str) -> None:
    """`compute_sim_matrix` of LAVIS: the raw logit of yes, plus the similarity."""
    wanted = by_transformers(model, output / "source")
    plain = sorted(wanted, key=lambda uri: -wanted[uri][0])
    again = sorted(plain[:5], key=lambda uri: -sum(wanted[uri]))
    assert again != plain[:5]  # which is what probabilities of 1 would leave
    assert [hit["uri"] for hit in found(output / "index", k=7)] == plain
    hits = found(output / "index", k=3, rerank=5)
    assert [hit["uri"] for hit in hits] == again[:3]
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert [hit["match"] for hit in hits] == pytest.approx([1, 1, 1], abs=1e-6)
    scores = [wanted[hit["uri"]][0] for hit in hits]
    assert [hit["score"] for hit in hits] == pytest.approx(scores, abs=1e-3)


def test_no_picture_is_looked_at_again(output: Path) -> None:
    """The Q-Former reads the text with what was kept of five pictures; the vision tower rests."""
    passes: Counter[str] = Counter()

    def count(module: torch.nn.Module, inputs: Any, out: Any) -> None:
        passes[type(module).__name__] += 1

    with torch.nn.modules.module.register_module_forward_hook(count):
        found(output / "index", k=3, rerank=5)
    assert passes["Blip2QFormerModel"] > 0
    assert passes["Blip2VisionModel"] == 0
    with torch.nn.modules.module.register_module_forward_hook(count):
        found(output / "index", k=3, query=str(output / "source" / NAMES[0]))
    assert passes["Blip2VisionModel"] == 1


def test_what_was_not_looked_at_again_follows(output: Path) -> None:
    plain = found(output / "index", k=7)
    assert not any("match" in hit for hit in plain)
    hits = found(output / "index", k=6, rerank=2)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6]
    assert {hit["uri"] for hit in hits[:2]} == {hit["uri"] for hit in plain[:2]}
    assert ["match" in hit for hit in hits] == [True] * 2 + [False] * 4
    assert hits[2:] == plain[2:6]


def test_what_was_seen_comes_back_as_the_output_has_it(output: Path) -> None:
    rows = lakesight.open(str(output / "seen")).dataset().to_table()
    searcher = Searcher.open(str(output / "index"))
    ids = rows["id"].to_pylist()[::-1]
    kept = np.array(rows["features"].to_pylist()[::-1], np.float16)
    np.testing.assert_array_equal(searcher.features(ids), kept)
    assert "features" not in searcher.rows.schema.names
    with pytest.raises(UserError, match="no row with the id"):
        searcher.features(["f" * 32])


def test_features_of_another_model_are_refused(output: Path, tmp_path: Path) -> None:
    """Of another checkpoint of the same sizes, which nothing else would tell apart."""
    other = tmp_path / "other"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tiny.write_blip2_itc(other)
    models = lakesight.open(str(output / "seen")).settings["models"]
    spec = catalog.spec(str(other), "embed", {"write": "features"}, "auto", ["unknown"])
    stranger = spec.model_copy(update={"column": "features"}).model_dump(mode="json")
    rows = lakesight.open(str(output / "seen")).dataset().to_table().to_pylist()
    kept = {row["uri"].rpartition("/")[2]: row for row in rows}
    schema = lakesight.open(str(output / "seen")).dataset().schema
    fields = [schema.field("embeddings"), schema.field("features")]
    for number, features_by in enumerate([models[1], stranger, None]):
        made_by = [models[0], *([features_by] if features_by else [])]
        seen = tmp_path / str(number)
        write_rows(output / "source", seen, fields, kept, made_by)
        index = Index(
            output=str(seen),
            index=str(tmp_path / f"index-{number}"),
            column="embeddings",
            features="features",
        )
        if number == 0:
            assert index.run() == 0
            continue
        name = ["itc", "other", "an unknown model"][number]
        with pytest.raises(UserError, match=f"are of itc, and the features .* of {name}: one mod"):
            index.run()
        assert not (tmp_path / f"index-{number}").exists()


def test_mistakes_are_said(output: Path, tmp_path: Path) -> None:
    without = tmp_path / "without"
    Index(output=str(output / "seen"), index=str(without), column="embeddings").run()
    with pytest.raises(UserError, match="keeps no features"):
        found(without, rerank=3)
    row = lakesight.open(str(output / "seen")).dataset().to_table()["id"][0].as_py()
    with pytest.raises(UserError, match="search by a text"):
        found(output / "index", query=f"id:{row}", rerank=3)
    wrong = {"output": str(output / "seen"), "index": str(tmp_path / "x"), "column": "embeddings"}
    with pytest.raises(UserError, match="expected a column of features"):
        Index.model_validate(wrong | {"features": "uri"}).run()
    with pytest.raises(UserError, match="has no column 'nothing'"):
        Index.model_validate(wrong | {"features": "nothing"}).run()
    damaged = next((output / "index").rglob("features.f16"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-2] + b"\0\1")
    try:
        with pytest.raises(UserError, match=r"damaged: features\.f16"):
            found(output / "index", rerank=3)
        assert len(found(output / "index", k=7)) == 7  # which needs no features
    finally:
        damaged.write_bytes(whole)
