"""A BLIP-2's exports, run by ONNX Runtime and OpenVINO: the same as its weights on torch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lakesight.errors import UserError
from lakesight.models import availability, catalog
from lakesight.models.artefact import sha256_of
from lakesight.models.base import Image, Kind, ModelSpec, PartsParity, RuntimeName
from lakesight.models.checkpoints import checkpoint_way, graphs_of

Exported = Callable[[str], Path]
LICENCES = ["unknown", "opt-175b-licence"]
PROMPTS = [None, "a red", "what is this?"]
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1},
    "beams": {"num_beams": 4, "num_captions": 3, "length_penalty": 0.5},
    "draw": {"do_sample": True, "num_captions": 2},
}
writing = pytest.mark.parametrize("name", ["blip2-opt", "blip2-t5"])
everywhere = pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])


def spec(
    folder: Path, kind: Kind | None = None, runtime: RuntimeName = "auto", **options: Any
) -> ModelSpec:
    return catalog.spec(str(folder), kind, options, runtime, LICENCES)


def build(*given: Any, **options: Any) -> Any:
    return catalog.build(spec(*given, **options), num_threads=1)


def check_same(found: Any, wanted: Any) -> None:
    """Check that texts are equal, and scores as good as."""
    if isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for pair in zip(found, wanted, strict=True):
            check_same(*pair)
    elif isinstance(wanted, dict):
        check_same(list(found.values()), list(wanted.values()))
    else:
        assert found == wanted


@pytest.fixture(scope="module")
def views(pictures: Callable[..., list[Image]]) -> list[Image]:
    return pictures(len(PROMPTS))


@pytest.fixture(scope="module")
def built(exported: Exported) -> Callable[[str, RuntimeName], dict[str, Any]]:
    """Return the models of a checkpoint on a runtime, by search, `answer` and `caption_crops`."""
    known: dict[tuple[str, RuntimeName], dict[str, Any]] = {}

    def models(name: str, runtime: RuntimeName) -> dict[str, Any]:
        if (name, runtime) not in known:
            chosen = {
                search: spec(exported(name), "caption", runtime, max_new_tokens=8, **settings)
                for search, settings in SEARCHES.items()
            }
            chosen["answer"] = spec(
                exported(name), "answer", runtime, max_new_tokens=4, num_beams=3
            )
            chosen["caption_crops"] = spec(
                exported(name), "caption_crops", runtime, max_new_tokens=5, num_beams=2
            )
            together = catalog.build_all(list(chosen.values()), num_threads=1)
            known[name, runtime] = dict(zip(chosen, together, strict=True))
        return known[name, runtime]

    return models


Built = Callable[[str, RuntimeName], dict[str, Any]]


@writing
@everywhere
def test_captions_and_their_scores_are_those_of_torch(
    name: str, runtime: RuntimeName, built: Built, views: list[Image]
) -> None:
    rows = pa.table({"prompt": pa.array(PROMPTS, pa.string())})
    for search in SEARCHES:
        here, torch = (built(name, one)[search] for one in (runtime, "torch"))
        assert here.runs_on == f"{runtime} on cpu"
        wanted = torch.predict(views, rows)
        assert len(set(map(str, wanted.to_pylist()))) == len(views)
        check_same(here.predict(views, rows).to_pylist(), wanted.to_pylist())


@writing
@everywhere
def test_answers_are_those_of_torch_written_and_chosen(
    name: str, runtime: RuntimeName, built: Built, views: list[Image]
) -> None:
    questions = [["red?", "how many dogs?"], ["a bus?"], []]
    candidates = [["yes", "no", "a red bus"], None, None]
    rows = pa.table({"questions": questions, "candidates": candidates})
    here, torch = (built(name, one)["answer"] for one in (runtime, "torch"))
    wanted = torch.predict(views, rows).to_pylist()
    assert [len(answers) for answers in wanted] == [2, 1, 0]
    check_same(here.predict(views, rows).to_pylist(), wanted)


def test_objects_are_described_by_the_export(built: Built) -> None:
    """What they are cut from is no view of the checkpoint; the export is its own all the same."""
    picture = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    objects = [{"box": [0.0, 0.0, 500.0, 500.0], "score": 0.9}]
    rows = pa.table({"width": [1024], "height": [1024], "detections": [objects]})
    both = [built("blip2-opt", runtime)["caption_crops"] for runtime in ("openvino", "torch")]
    assert [model.runs_on for model in both] == ["openvino on cpu", "torch on cpu"]
    here, torch = (model.predict([picture], rows).to_pylist() for model in both)
    assert here == torch
    assert here[0][0]


@everywhere
def test_retrieval_gives_the_vectors_and_matches_of_torch(
    runtime: RuntimeName, exported: Exported, views: list[Image]
) -> None:
    texts = ["a red bus", "what is this?", "x"]
    here, torch = (build(exported("blip2-itc"), "embed", one) for one in (runtime, "torch"))
    for method in ("embed_text", "embed_images", "match", "similarity"):
        given: Any = {"embed_text": [texts], "embed_images": [views]}.get(method, [views, texts])
        found, wanted = (getattr(model, method)(*given) for model in (here, torch))
        np.testing.assert_allclose(found, wanted, atol=1e-5, err_msg=method)
    for mode in ("image", "text", "multimodal"):
        pairs = [model.extract_features(views, texts, mode, "hidden") for model in (here, torch)]
        np.testing.assert_allclose(pairs[0].values, pairs[1].values, atol=1e-4, err_msg=mode)
    features = build(exported("blip2-itc"), "embed", runtime, write="features")
    seen = np.array(features.predict(views, pa.table({"width": [1] * 3})).to_pylist(), np.float16)
    again = here.match_features(seen, texts)
    np.testing.assert_allclose(again, torch.match(views, texts), atol=2e-3)


def test_one_export_is_opened_for_captions_and_answers(built: Built, exported: Exported) -> None:
    models = built("blip2-opt", "openvino")
    assert models["greedy"].author is models["answer"].author
    folder = exported("blip2-opt")
    chosen = [
        spec(folder, "caption", "openvino"),
        spec(folder, "answer", "openvino"),
        spec(folder, "caption", "torch"),
        spec(folder, "caption", "openvino", precision="int8"),
    ]
    keys = [catalog.network(one) for one in chosen]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_auto_takes_the_export_unless_torch_is_meant(exported: Exported) -> None:
    folder = exported("blip2-opt")
    whole, smaller = spec(folder), spec(folder, precision="int4")
    torch = spec(folder, dtype="bfloat16")
    assert availability.check(whole, here=True).startswith("on openvino, cpu: ")
    assert availability.check(smaller, here=True).startswith("on openvino, cpu: ")
    assert availability.check(torch, here=True).startswith("on torch, cpu: ")
    way = checkpoint_way(smaller.card, smaller.options, "auto")
    assert way.artefact is not None
    assert way.artefact.name == "onnx-int4"
    assert catalog.can_use_gpu(whole, here=False)
    assert not catalog.can_use_gpu(spec(folder, None, "openvino"), here=False)
    assert not catalog.can_use_gpu(smaller, here=False)


@pytest.mark.parametrize(
    ("runtime", "options", "message"),
    [
        ("openvino", {"dtype": "bfloat16"}, "run as openvino with device=auto and dtype=bfloat16"),
        ("auto", {"device": "cuda", "precision": "int8"}, "run as int8 with device=cuda"),
        ("torch", {"precision": "int8"}, "cannot run on torch in int8"),
        ("tensorrt", {}, "cannot run on tensorrt in f32"),
        ("ncnn", {}, "cannot run on ncnn in f32"),
    ],
)
def test_what_no_export_does_is_refused(
    runtime: RuntimeName, options: dict[str, Any], message: str, exported: Exported
) -> None:
    chosen = spec(exported("blip2-opt"), None, runtime, **options)
    with pytest.raises(UserError, match=message):
        catalog.build(chosen)
    with pytest.raises(UserError, match=message):
        availability.check(chosen, here=True)


def test_without_an_export_there_is_torch_only(checkpoint: Callable[[str], Path]) -> None:
    chosen = spec(checkpoint("blip2-opt"), None, "openvino")
    with pytest.raises(UserError, match=r"without an export it runs on torch only.*export it"):
        catalog.build(chosen)
    with pytest.raises(UserError, match="cannot run in int8: it has no export"):
        build(checkpoint("blip2-opt"), precision="int8")


def test_an_export_of_other_weights_is_left_out(
    exported: Exported, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(exported("blip2-opt"), folder)
    card = json.loads((folder / "card.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"initializer_range": 0.5}))
    card["sha256"]["config.json"] = sha256_of(folder / "config.json")
    (folder / "card.json").write_text(json.dumps(card))
    card_now = catalog.resolve(str(folder))
    assert graphs_of(card_now, {}, "auto") is None
    assert "onnx, onnx-int8, onnx-int4 left out, made of other weights" in caplog.text
    with pytest.raises(UserError, match=r"exports: onnx of other weights, .*`lakesight export`"):
        graphs_of(card_now, {}, "onnxruntime")


@pytest.mark.parametrize("file", ["decoder.onnx", "qformer.onnx.data"])
def test_a_graph_that_came_to_harm_is_not_opened(
    file: str, exported: Exported, tmp_path: Path
) -> None:
    shutil.copytree(exported("blip2-opt"), tmp_path / "mine")
    with (tmp_path / "mine/exports/onnx" / file).open("ab") as graph:
        graph.write(b"more")
    with pytest.raises(UserError, match=f"{file} is not the file that its card describes"):
        build(tmp_path / "mine", None, "onnxruntime")


def test_weights_of_fewer_bits_differ_the_more(exported: Exported, views: list[Image]) -> None:
    card = catalog.resolve(str(exported("blip2-opt")))
    logits = {}
    for artefact in card.artefacts:
        assert isinstance(artefact.parity, PartsParity)
        logits[artefact.precision] = artefact.parity.parts["logits"]
        assert artefact.parity.parts["queries"] < 1e-4, "only the language model has fewer bits"
    assert logits["f32"] < 1e-4 < logits["int8"] < 0.1 < logits["int4"] < 1
    model = build(exported("blip2-opt"), "caption", "onnxruntime", precision="int8")
    assert model.runs_on == "onnxruntime on cpu"
    rows = pa.table({"width": [1] * len(views)})
    alone = [model.predict([view], rows.slice(0, 1)).to_pylist()[0] for view in views]
    assert model.predict(views, rows).to_pylist() == alone, "its neighbours round nothing of it"
