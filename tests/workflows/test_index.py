import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import lakesight
from indexes.search import Searcher
from indexes.store import IndexStore
from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.models.base import ModelSpec
from lakesight.schemas import embedding_type, output_schema
from tests.indexing import unit
from tests.outputs import DIM, EMBEDDER, SETTINGS, vector, write_output, write_pictures
from workflows.index import Index
from workflows.sql import Sql

NAMES = [f"{number:02}.jpg" for number in range(12)] + ["broken.jpg"]


@pytest.fixture
def source(new_root: Callable[[], str]) -> str:
    root = new_root()
    write_pictures(root, NAMES)
    return root


def test_every_committed_vector_is_found(
    source: str, new_root: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    output, index = new_root(), new_root()
    write_output(source, output)
    assert Index(output=output, index=index).run() == 0
    assert f"Wrote 12 vectors of {DIM} float16" in capsys.readouterr().out
    searcher = Searcher.open(index)
    for row in lakesight.open(output).dataset().to_table().to_pylist():
        if row["embedding"] is None:
            continue
        found = searcher.search(vector(row["uri"]).astype(np.float32)[None], 1).to_pylist()[0]
        for name in set(row) - {"embedding"}:
            assert found[name] == row[name], name


def test_nothing_new_is_nothing_to_do(
    source: str, new_root: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    output, index = new_root(), new_root()
    write_output(source, output)
    Index(output=output, index=index).run()
    before = IndexStore.open(index).current()
    capsys.readouterr()
    assert Index(output=output, index=index).run() == 0
    assert "Nothing new" in capsys.readouterr().out
    assert IndexStore.open(index).current() == before
    Index(output=output, index=index, rebuild=True).run()
    assert IndexStore.open(index).current() != before


def test_what_is_new_and_what_has_changed(source: str, new_root: Callable[[], str]) -> None:
    output, index = new_root(), new_root()
    write_output(source, output)
    Index(output=output, index=index).run()
    write_pictures(source, ["new.jpg"])
    store, prefix = Store.open(source)
    key = f"{prefix}/{NAMES[0]}".lstrip("/")
    store.put(key, store.get(key) + b"another picture under the same name")
    write_output(source, output)
    Index(output=output, index=index).run()
    found = Searcher.open(index).search(unit(1, DIM, "float32"), 100)
    assert sorted(uri.rpartition("/")[2] for uri in found["uri"].to_pylist()) == [
        *NAMES[:-1],
        "new.jpg",
    ]
    head = store.head(key)
    assert head is not None
    assert head.etag in found["etag"].to_pylist()


def test_the_manifest_says_what_made_the_vectors(
    source: str, new_root: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    output, index = new_root(), new_root()
    write_output(source, output)
    Index.model_validate({"output": output, "index": index, "json": True}).run()
    printed = json.loads(capsys.readouterr().out)
    manifest = IndexStore.open(index).current()
    assert manifest is not None
    assert manifest.model == ModelSpec(card=EMBEDDER)
    assert (manifest.count, manifest.dim, manifest.num_skipped) == (12, DIM, 0)
    assert manifest.recall.value == 1.0
    assert printed == {"new": True} | manifest.model_dump(mode="json")


def test_a_column_by_another_name(tmp_path: Path) -> None:
    write_pictures(str(tmp_path / "source"), NAMES)
    schema = output_schema([pa.field("faces", embedding_type(DIM, pa.float32()))])
    spec = dict(SETTINGS["models"][0]) | {"column": "faces"}
    out = write_output(
        str(tmp_path / "source"),
        str(tmp_path / "seen"),
        schema=schema,
        settings={"models": [spec]},
        change={"faces": vector("the same for all").astype(np.float32)},
    )
    with pytest.raises(UserError, match="--column faces"):
        Index(output=str(tmp_path / "seen"), index=str(tmp_path / "index")).run()
    Index(output=str(tmp_path / "seen"), index=str(tmp_path / "index"), column="faces").run()
    manifest = IndexStore.open(str(tmp_path / "index")).current()
    assert manifest is not None
    assert manifest.source == out.uri
    assert (manifest.storage, manifest.column, manifest.count) == ("float32", "faces", 13)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        (pa.field("caption", pa.string()), "a dog", "--embed"),
        (pa.field("embedding", pa.list_(pa.float32())), [1, 0, 0, 0], "expected vectors"),
        (pa.field("embedding", pa.list_(embedding_type(4))), [], "as many vectors"),
        (pa.field("embedding", pa.list_(embedding_type(4))), [[1, 0, 0, 9]], "of another length"),
        (pa.field("embedding", embedding_type(4)), None, "no vectors"),
        (pa.field("embedding", embedding_type(4)), [9, 0, 0, 0], "of another length"),
    ],
)
def test_nothing_to_index_is_one_line_and_no_index(
    column: pa.Field, value: object, says: str, tmp_path: Path
) -> None:
    write_pictures(str(tmp_path / "source"), NAMES)
    write_output(
        str(tmp_path / "source"),
        str(tmp_path / "seen"),
        schema=output_schema([column]),
        change={column.name: value},
    )
    with pytest.raises(UserError, match=says):
        Index(output=str(tmp_path / "seen"), index=str(tmp_path / "index")).run()
    assert not (tmp_path / "index" / "current.json").exists()


def test_no_output_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no output"):
        Index(output=str(tmp_path), index=str(tmp_path / "index")).run()
    with pytest.raises(UserError, match="no output"):
        Sql(output=str(tmp_path), statement="SELECT 1").run()
