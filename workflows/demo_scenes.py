"""The second act of `lakesight demo`: scenes of which all is known, in every way at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakesight.lake.store import Store
from lakesight.scenes.known import NAME

NUM_SCENES = 100
SEED = 1008
"""Of scenes that no starter was trained on, nor chosen by."""
QUERY = "a red star above a blue circle"


@dataclass(frozen=True)
class Act:
    """What is drawn into a folder, uploaded to a prefix, looked at, searched and judged."""

    folder: Path
    lake: str

    @property
    def scenes(self) -> Path:
        """Return where the scenes are drawn."""
        return self.folder / "scenes"

    @property
    def listing(self) -> Path:
        """Return the list of the uploaded pictures, each with its questions."""
        return self.folder / "scenes.parquet"

    @property
    def report(self) -> Path:
        """Return the report."""
        return self.folder / "scenes.html"

    @property
    def draw(self) -> Sequence[str]:
        """Return the command that draws."""
        return ["scenes", str(self.scenes), "--num-images", "0", "--num-val", str(NUM_SCENES),
                "--size", "224", "--seed", str(SEED)]  # fmt: skip

    @property
    def commands(self) -> Sequence[Sequence[str]]:
        """Return what is done with them, as one would type it."""
        seen, index = f"{self.lake}-seen", f"{self.lake}-index"
        finder, writer = "starter-blip2-retrieve", "starter-blip2-write"
        return [
            ["annotate", str(self.listing), seen, "--detect", "starter-yolo-detect",
             "--caption", writer, "--answer", writer,
             "--embed", finder, "--set", "embed.queries=all",
             "--embed", f"features={finder}", "--set", "features.write=features"],
            ["index", seen, index, "--column", "embeddings", "--features", "features"],
            ["search", index, QUERY, "-k", "4", "--rerank", "32"],
            ["evaluate", seen, str(self.scenes), "--column", "caption"],
            ["evaluate", seen, str(self.scenes), "--column", "answers", "--slice", "kind"],
            ["report", seen, str(self.report), "--truth", str(self.scenes)],
        ]  # fmt: skip

    def upload(self) -> int:
        """Upload the pictures, unless they are there, and write the list; return their number."""
        store, prefix = Store.open(self.lake)
        table = self.scenes / "tables" / "val.parquet"
        rows = pq.read_table(table, columns=["file_name", "questions"])
        for name in (NAME, *rows["file_name"].to_pylist()):
            if not store.exists(f"{prefix}/{name}"):
                store.put(f"{prefix}/{name}", (self.scenes / name).read_bytes())
        uris = [f"{self.lake}/{name}" for name in rows["file_name"].to_pylist()]
        asked = [[one["question"] for one in all_] for all_ in rows["questions"].to_pylist()]
        pq.write_table(pa.table({"uri": uris, "questions": asked}), self.listing)
        return len(uris)
