"""A writer as a process of its own, and the rows it writes; for the tests of the commit protocol.

`python committing.py OUTPUT PIECE` computes its rows, says "ready", waits for a line, commits,
and says "True" where the piece is its own, "False" where somebody was first.
"""

import os
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from lakesight.lake.output import Output
from lakesight.schemas import ROW


def rows_of(manifest: pa.Table, run_id: str = "test") -> pa.Table:
    """Return rows of schema `ROW` for objects of a manifest, as if nothing was found in them."""
    num_rows = manifest.num_rows
    columns = {field.name: pa.nulls(num_rows, field.type) for field in ROW}
    columns |= {name: manifest[name] for name in ("id", "uri", "etag")}
    columns |= {"status": pa.array(["ok"] * num_rows), "run_id": pa.array([run_id] * num_rows)}
    return pa.table(columns).cast(ROW)


def commit_all(output: Output) -> int:
    """Commit every pending piece; return how many."""
    pieces = output.pending()
    for piece in pieces:
        assert output.commit(piece, rows_of(output.read_piece(piece)))
    return len(pieces)


def globbed(output: Output) -> Counter[tuple[str, str]]:
    """Return every (uri, etag) in `data/*.parquet`, whatever the manifests say."""
    store, keys = output.store, Counter[tuple[str, str]]()
    for page in store.list(output.data_key("x").removesuffix("/x.parquet")):
        for key in page["key"].to_pylist():
            with store.reader(key) as file:
                table = pq.read_table(pa.PythonFile(file, "r"))
            keys.update(zip(table["uri"].to_pylist(), table["etag"].to_pylist(), strict=True))
    return keys


def start_writer(uri: str, index: int) -> "subprocess.Popen[str]":
    """Start a writer of the piece `index`, and wait until it holds its rows."""
    process = subprocess.Popen(
        [sys.executable, __file__, uri, str(index)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def main(uri: str, index: str) -> None:
    """Be the writer."""
    output = Output.open(uri)
    piece = output.pieces()[int(index)]
    rows = rows_of(output.read_piece(piece), run_id=str(os.getpid()))
    print("ready", flush=True)
    sys.stdin.readline()
    print(output.commit(piece, rows), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
