"""An index of texts: built of lists and outputs, searched by pictures, reranked by matching."""

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from PIL import Image

from indexes.search import Searcher
from indexes.store import IndexStore
from lakesight.lake.store import Store
from lakesight.models import catalog
from lakesight.models.look import look
from lakesight.schemas import CAPTIONS, CROP_CAPTIONS
from tests.lakesight.models import tiny
from tests.outputs import write_pictures
from tests.worded import write_rows
from workflows.__main__ import main
from workflows.index import Index

hf: Any = transformers  # typed only in part
LICENCES = ("unknown",)
TEXTS = ["a red bus", "dog", "two cats asleep, 7", "a bus asleep", "a red cat", "two dogs", "7"]
NAMES = [f"{number}.jpg" for number in range(4)]


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
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pictures."""
    folder = tmp_path_factory.mktemp("photos")
    write_pictures(str(folder), NAMES)
    return folder


def indexed(source: str, index: str, **more: Any) -> None:
    """Index texts."""
    given = {"output": source, "index": index, "allow_licence": LICENCES, **more}
    assert Index.model_validate(given).run() == 0


def found(index: str, query: str, *words: str) -> list[dict[str, Any]]:
    """Return what `search --json` prints."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["search", index, query, "--json", *words]) == 0
    return [json.loads(line) for line in printed.getvalue().splitlines()]


def held(index: str) -> list[str]:
    searcher = Searcher.open(index)  # whose files go with it
    return sorted(searcher.rows.to_table()["text"].to_pylist())


@torch.inference_mode()
def by_transformers(model: str, picture: Path) -> dict[str, tuple[float, float]]:
    """Return of each text its contrastive score with a picture, and the logit of yes."""
    own = hf.Blip2ForImageTextRetrieval.from_pretrained(model).eval()
    own.config.image_token_index = None  # texts without placeholders
    pixels = hf.BlipImageProcessorPil.from_pretrained(model)
    tokenizer = hf.AutoTokenizer.from_pretrained(model)
    scores = {}
    for text in TEXTS:
        inputs = pixels(images=Image.open(picture).convert("RGB"), return_tensors="pt")
        inputs |= tokenizer([text], return_tensors="pt")
        inputs.pop("token_type_ids", None)
        pair = own(**inputs, use_image_text_matching_head=True).logits_per_image  # (1, 2)
        cosine = own(**inputs, use_image_text_matching_head=False).logits_per_image  # (1, 1)
        scores[text] = (float(cosine[0, 0]), float(pair[0, 1]))
    return scores


@pytest.mark.parametrize("name", ["said.txt", "said.csv", "said.parquet"])
def test_a_list_is_indexed_each_text_once(
    name: str, model: str, new_root: Callable[[], str], tmp_path: Path
) -> None:
    told = [*TEXTS, " dog ", "", "a, b\nc"[: 4 if name == "said.txt" else None], TEXTS[0]]
    path = tmp_path / name
    if name == "said.txt":
        path.write_text("\n".join(told))
    else:
        table = pa.table({"other": range(len(told)), "words": told})
        if name == "said.csv":
            import pyarrow.csv

            pyarrow.csv.write_csv(table, path)
        else:
            pq.write_table(table, path)
    root = new_root()
    store, prefix = Store.open(root)
    store.put(f"{prefix}/{name}".lstrip("/"), path.read_bytes())
    columns = {} if name == "said.txt" else {"texts": "words"}
    index = new_root()
    indexed(f"{root}/{name}", index, text_model=model, **columns)
    assert held(index) == sorted({*TEXTS, told[-2]})
    manifest = IndexStore.open(index).current()
    assert manifest is not None
    assert (manifest.holds, manifest.count, manifest.vectors_per_row) == ("texts", 8, 1)


def test_nothing_new_is_nothing_to_do(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, index = tmp_path / "said.txt", str(tmp_path / "index")
    path.write_text("\n".join(TEXTS))
    indexed(str(path), index, text_model=model)
    assert "Wrote 7 vectors" in capsys.readouterr().out
    indexed(str(path), index, text_model=model)
    assert "Nothing new" in capsys.readouterr().out
    path.write_text("\n".join([*TEXTS, "a new one"]))
    indexed(str(path), index, text_model=model)
    assert "Wrote 8 vectors" in capsys.readouterr().out
    other = str(tiny.write("clip", tmp_path / "clip"))
    indexed(str(path), index, text_model=other)
    assert "Wrote 8 vectors" in capsys.readouterr().out


def write_seen(photos: Path, folder: Path, model: str) -> str:
    """Write an output with texts of three kinds, and the vectors of a model."""
    spec = catalog.spec(model, "embed", {"queries": "all", "device": "cpu"}, "auto", LICENCES)
    finder = catalog.build(spec)
    vectors = look(finder, [photos / name for name in NAMES]).to_pylist()
    rows: dict[str, Any] = {
        name: {
            "caption": TEXTS[number % 3],
            "captions": [
                {"text": text, "score": 0.0, "prompt": None} for text in TEXTS[number : number + 2]
            ],
            "crop_captions": [TEXTS[5], None, TEXTS[6]],
            "embeddings": vector,
        }
        for number, (name, vector) in enumerate(zip(NAMES, vectors, strict=True))
    }
    rows[NAMES[3]] |= {"caption": None, "captions": [], "crop_captions": None}
    fields = [
        pa.field("caption", pa.string()),
        pa.field("captions", CAPTIONS),
        pa.field("crop_captions", CROP_CAPTIONS),
        finder.output,
    ]
    return write_rows(photos, folder, fields, rows, [spec.model_dump(mode="json")])


@pytest.mark.parametrize(
    ("column", "texts"),
    [("caption", TEXTS[:3]), ("captions", TEXTS[:4]), ("crop_captions", TEXTS[5:])],
)
def test_an_outputs_texts_are_embedded_by_its_own_model(
    column: str, texts: Sequence[str], model: str, photos: Path, tmp_path: Path
) -> None:
    seen = write_seen(photos, tmp_path / "seen", model)
    index = str(tmp_path / "index")
    assert Index(output=seen, index=index, texts=column).run() == 0
    assert held(index) == sorted(texts)
    manifest = IndexStore.open(index).current()
    assert manifest is not None
    assert manifest.model is not None
    assert manifest.model.card.name == "itc"
    assert manifest.column == column


def test_a_picture_finds_texts_by_the_contrastive_score_and_then_by_matching(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `compute_sim_matrix` of LAVIS ranks texts: the raw logit of yes, plus the similarity."""
    (tmp_path / "said.txt").write_text("\n".join(TEXTS))
    index = str(tmp_path / "index")
    indexed(str(tmp_path / "said.txt"), index, text_model=model)
    changed = 0
    for name in NAMES:
        wanted = by_transformers(model, photos / name)
        plain = sorted(wanted, key=lambda text: -wanted[text][0])
        hits = found(index, str(photos / name))
        assert [hit["text"] for hit in hits] == plain
        scores = [wanted[text][0] for text in plain]
        assert [hit["score"] for hit in hits] == pytest.approx(scores, abs=1e-3)
        again = sorted(plain[:5], key=lambda text: -sum(wanted[text]))
        changed += again != plain[:5]
        hits = found(index, str(photos / name), "--rerank", "5", "-k", "6")
        assert [hit["text"] for hit in hits] == [*again, plain[5]]
        assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5, 6]
        assert ["match" in hit for hit in hits] == [True] * 5 + [False]
    assert changed == len(NAMES)
    some = found(index, str(photos / NAMES[0]), "--where", "text LIKE '%bus%'")
    assert {hit["text"] for hit in some} == {"a red bus", "a bus asleep"}
    near = found(index, f"id:{some[0]['id']}", "-k", "100")
    assert len(near) == len(TEXTS) - 1
    assert found(index, "two dogs", "-k", "1")[0]["text"] == "two dogs"
    assert found(index, str(photos / NAMES[0]), "--where", "false", "--rerank", "3") == []
    capsys.readouterr()
    assert main(["search", index, str(photos / NAMES[0]), "-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "score", "text"]
    assert lines[-1].startswith("2 of 7 texts of ")


def test_a_picture_goes_through_the_vision_tower_once(
    model: str, photos: Path, tmp_path: Path
) -> None:
    finder: Any = catalog.build(catalog.spec(model, None, {"device": "cpu"}, "auto", LICENCES))
    passes: list[int] = []
    tower = finder._towers.model.retrieval.vision_model
    tower.register_forward_hook(lambda *given: passes.append(len(given[2].last_hidden_state)))
    view = finder.view
    picture = np.asarray(Image.open(photos / NAMES[0]).resize((view.width, view.height)))
    vectors = finder.embed_images([picture])
    seen = finder.see_features([picture])
    shared = np.broadcast_to(seen, (200, *seen.shape[1:]))
    assert finder.match_logits(shared, ["a red bus"] * 200).shape == (200, 2)
    assert vectors.shape[:2] == (1, 6)
    assert passes == [1]


@pytest.fixture(scope="module")
def ready(model: str, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of lists, indexes and an output, to make mistakes with."""
    root = tmp_path_factory.mktemp("ready")
    (root / "said.txt").write_text("\n".join(TEXTS))
    (root / "blank.txt").write_text("\n \n")
    (root / "latin.txt").write_bytes("café\n".encode("latin-1"))
    (root / "said.csv").write_text("words,number\na dog,1\n")
    pq.write_table(pa.table({"text": [1, 2]}), root / "numbers.parquet")
    (root / "broken.parquet").write_bytes(b"PAR1")
    clip = str(tiny.write("clip", root / "clip"))
    indexed(str(root / "said.txt"), str(root / "by-clip"), text_model=clip)
    indexed(str(root / "said.txt"), str(root / "said"), text_model=model)
    write_seen(photos, root / "seen", model)
    write_rows(photos, root / "bare", [pa.field("caption", pa.string())], {n: {} for n in NAMES})
    seen, index = str(root / "seen"), str(root / "index")
    assert Index(output=seen, index=index, column="embeddings").run() == 0
    return root


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["said.txt"], "said.txt is a list: to index its texts, name what embeds them as"),
        (["said.txt", "--texts", "text"], "does not say what embeds its texts: name an image-text"),
        (["none.txt", "--text-model", "clip"], "there is no list of texts at none.txt"),
        (["blank.txt", "--text-model", "clip"], "blank.txt has no texts in 'text'"),
        (["latin.txt", "--text-model", "clip"], "latin.txt is no text in UTF-8"),
        (["said.csv", "--text-model", "clip"], "no list with texts in a column 'text', which"),
        (["numbers.parquet", "--text-model", "clip"], "has no texts in the column 'text', but int"),
        (["broken.parquet", "--text-model", "clip"], "is no list with texts in a column 'text'"),
        (["said.csv", "--text-model", "clip", "--texts", "x"], "with texts in a column 'x'"),
        (["seen", "--texts", "nothing"], "it has no column 'nothing': name the texts to index as"),
        (["seen", "--text-model", "clip"], "name the texts to index as --texts, one of "),
        (["seen", "--texts", "embeddings"], "has no texts in the column 'embeddings', but list"),
        (["seen", "--texts", "caption", "--column", "x"], "--column is of pictures, and texts are"),
        (["bare", "--texts", "caption"], "does not say what embeds its texts"),
        (
            ["said.txt", "--text-model", "efficientnet-lite3"],
            "does not embed texts and pictures in",
        ),
        (["seen", "--allow-licence", "unknown"], "--allow-licence is for --text-model"),
    ],
)
def test_what_cannot_be_indexed_is_said_in_one_line(
    ready: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ready)
    licence = ["--allow-licence", "unknown"] if "--text-model" in words else []
    capsys.readouterr()
    assert main(["index", words[0], "new", *words[1:], *licence]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (ready / "new").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["said", "a dog", "--rerank", "3"],
            "looks at a picture and texts together: search by a p",
        ),
        (["index", "PHOTO", "--rerank", "3"], "pictures and a text together: search by a text, or"),
        (
            ["by-clip", "PHOTO", "--rerank", "3"],
            "clip never looks at a picture and a text together",
        ),
        (["said", "none.jpg"], "there is no picture at none.jpg"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(
    ready: Path,
    photos: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ready)
    capsys.readouterr()
    assert main(["search", *(str(photos / NAMES[0]) if w == "PHOTO" else w for w in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_clip_finds_texts_too(ready: Path, photos: Path) -> None:
    spec = catalog.spec(str(ready / "clip"), None, {"vector_dtype": "float32"}, "auto", LICENCES)
    clip: Any = catalog.build(spec)
    cosines = look(clip, [photos / NAMES[1]]).to_pylist()[0] @ clip.embed_text(TEXTS).T
    hits = found(str(ready / "by-clip"), str(photos / NAMES[1]))
    assert [hit["text"] for hit in hits] == [TEXTS[place] for place in np.argsort(-cosines)]
