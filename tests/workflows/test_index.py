import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import lakesight
from indexes.search import Searcher
from indexes.store import IndexStore
from lakesight.errors import UserError
from lakesight.lake.output import Output
from lakesight.lake.source import Source
from lakesight.lake.store import Store
from lakesight.models.base import ModelSpec
from lakesight.schemas import ROW, embedding_type, output_schema
from tests.indexing import unit
from tests.outputs import DIM, EMBEDDER, SETTINGS, vector, write_output, write_pictures
from workflows.index import Index
from workflows.indexed import batches
from workflows.sql import Sql

ROOT = Path(__file__).parents[2]
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


SHAPE = (257, 1408)
"""Of BLIP-2's features: 0.72 MB a row."""


def write_large(root: Path, num_rows: int) -> str:
    """Write an output of rows with features, in two files."""
    write_pictures(str(root / "source"), [f"{number:04}.jpg" for number in range(num_rows)])
    features = pa.list_(pa.list_(pa.float16(), SHAPE[1]), SHAPE[0])
    fields = [pa.field("embedding", embedding_type(DIM)), pa.field("features", features)]
    specs = [dict(SETTINGS["models"][0]) | {"column": name} for name in ("embedding", "features")]
    schema = output_schema(fields)
    out = Output.open(str(root / "seen"))
    out.bind({"models": specs}, schema)
    out.plan(Source(uri=str(root / "source"), include=("*",)), num_rows // 2)
    for piece in out.pending():
        keys = out.read_piece(piece).select(["id", "uri", "etag"]).to_pylist()
        told = [key | {"run_id": "run", "status": "ok", "embedding": vector("x")} for key in keys]
        rows = [{name: each.get(name) for name in schema.names[:-1]} for each in told]
        table = pa.Table.from_pylist(rows, schema=pa.schema(list(schema)[:-1]))
        zeros = pa.array(np.zeros(len(rows) * SHAPE[0] * SHAPE[1], np.float16))
        inner = pa.FixedSizeListArray.from_arrays(zeros, SHAPE[1])
        seen = pa.FixedSizeListArray.from_arrays(inner, SHAPE[0])
        out.commit(piece, table.append_column(schema.field("features"), seen))
    return str(root / "seen")


PEAK = """
import sys
from workflows.index import Index
Index(output=sys.argv[1], index=sys.argv[2], features=sys.argv[3] or None).run()
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(peak) >> 10)
"""


def peak_mib(output: str, index: Path, features: str) -> int:
    """Return the most memory that a process takes to index an output."""
    words = [sys.executable, "-c", PEAK, output, str(index), features]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_features(tmp_path: Path) -> None:
    num_rows = 600
    output = write_large(tmp_path, num_rows)
    without = peak_mib(output, tmp_path / "without", "")
    with_features = peak_mib(output, tmp_path / "with", "features")
    size = num_rows * SHAPE[0] * SHAPE[1] * 2
    (kept,) = (tmp_path / "with").rglob("features.f16")
    assert kept.stat().st_size == size
    assert with_features - without < (size >> 20) / 2


def test_only_what_an_index_takes_is_read(tmp_path: Path) -> None:
    lake = lakesight.open(write_large(tmp_path, 4))
    for features in (None, "features"):
        (rows,) = batches(lake, "embedding", features)
        assert rows.num_rows == 4
        names = [*ROW.names, "embedding", *([features] if features else [])]
        assert rows.column_names == names


def test_no_output_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no output"):
        Index(output=str(tmp_path), index=str(tmp_path / "index")).run()
    with pytest.raises(UserError, match="no output"):
        Sql(output=str(tmp_path), statement="SELECT 1").run()
