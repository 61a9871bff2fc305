"""The same job five ways: pictures in, detections as Parquet out. Each runs in its own process.

python -m benchmarks.contenders {ours|floor|ray-data|daft} PHOTOS OUTPUT
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MODEL = "ssd-mobilenet-v2-coco"
NUM_CPUS = len(os.sched_getaffinity(0))
BATCH = 16
SIZE_WH = (300, 300)
"""What the model wants to see."""


def ours(photos: str, output: str) -> None:
    """`lakesight annotate`, as a user types it."""
    from workflows.__main__ import main

    assert main(["annotate", photos, output, "--detect", MODEL]) == 0


def floor(photos: str, output: str) -> None:
    """Loop barely over the same decoder, runtime and store: no Ray, no manifest, no promises.

    As many threads as cores fetch and decode, a few batches ahead of the model.
    """
    from lakesight.lake.source import Source
    from lakesight.lake.store import Store
    from lakesight.media.decode import Decoded, decode
    from lakesight.media.limits import Limits

    model, limits = _model(), Limits()
    store, prefix = Store.open(photos)
    uris = [uri for page in Source(uri=photos).list() for uri in page["uri"].to_pylist()]

    def read(uri: str) -> Decoded:
        name = uri.rpartition("/")[2]
        key = f"{prefix}/{name}" if prefix else name
        return decode(store.get(key), [model.view], limits)

    chunks = []
    with ThreadPoolExecutor(NUM_CPUS) as pool:
        for batch in _ahead(pool, read, uris):
            sizes = {"width": [one.width for one in batch], "height": [one.height for one in batch]}
            chunks.append(model.predict([one.views[0] for one in batch], pa.table(sizes)))
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"uri": uris, "detections": pa.chunked_array(chunks)}), buffer)
    target, key = Store.open(output)
    target.put(f"{key}/part.parquet" if key else "part.parquet", buffer.getvalue().to_pybytes())


def _ahead(
    pool: ThreadPoolExecutor, read: Callable[[str], Any], uris: Sequence[str]
) -> Iterator[list[Any]]:
    """Yield batches in order, with four batches being read ahead."""
    waiting = deque(pool.submit(read, uri) for uri in uris[: 4 * BATCH])
    for start in range(0, len(uris), BATCH):
        batch = [waiting.popleft().result() for _ in uris[start : start + BATCH]]
        later = uris[start + 4 * BATCH : start + 5 * BATCH]
        waiting.extend(pool.submit(read, uri) for uri in later)
        yield batch


def ray_data(photos: str, output: str) -> None:
    """Ray Data as its guide to batch inference shows it: read_images, map, an actor pool, Parquet.

    https://docs.ray.io/en/latest/data/batch_inference.html
    """
    import ray
    from ray.data import ActorPoolStrategy

    ray.init(include_dashboard=False, log_to_driver=False)
    dataset = ray.data.read_images(
        _bare(photos), include_paths=True, mode="RGB", filesystem=_arrow_filesystem(photos)
    )
    dataset = dataset.map(_resized)
    dataset = dataset.map_batches(Predictor, batch_size=BATCH, compute=ActorPoolStrategy(size=1))
    dataset.write_parquet(_bare(output), filesystem=_arrow_filesystem(output))


class Predictor:
    """The callable class of Ray Data's guide, around the same model."""

    def __init__(self) -> None:
        self.model = _model()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch's detections, in the shape that Ray Data turns into Arrow by itself."""
        rows = pa.table({"width": batch["width"], "height": batch["height"]})
        found = self.model.predict(list(batch["view"]), rows)
        return {
            "uri": batch["path"],
            "detections": np.array([*found.to_pylist(), None], object)[:-1],
        }


def _resized(row: dict[str, Any]) -> dict[str, Any]:
    import cv2

    image = row["image"]
    view = cv2.resize(image, SIZE_WH, interpolation=cv2.INTER_LINEAR)
    return {"path": row["path"], "view": view, "width": image.shape[1], "height": image.shape[0]}


def daft(photos: str, output: str) -> None:
    """Daft with the code that its documentation leads to: download, decode, resize, a class UDF."""
    import daft
    from daft import DataType, col

    from lakesight.schemas import detection_type

    @daft.cls
    class Detect:
        def __init__(self) -> None:
            self.model = _model()

        @daft.method.batch(
            return_dtype=DataType.from_arrow_type(detection_type()), batch_size=BATCH
        )
        def __call__(self, views: Any, widths: Any, heights: Any) -> pa.Array:
            images = list(views.to_arrow().storage.flatten().to_numpy().reshape(-1, 300, 300, 3))
            rows = pa.table({"width": widths.to_arrow(), "height": heights.to_arrow()})
            return self.model.predict(images, rows)

    detect = Detect()
    config = _daft_config(photos)
    frame = daft.from_glob_path(f"{photos.rstrip('/')}/*.jpg", io_config=config)
    frame = frame.with_column(
        "image", col("path").download(io_config=config).decode_image("raise", "RGB")
    )
    frame = frame.with_columns(
        {
            "width": col("image").image_width(),
            "height": col("image").image_height(),
            "view": col("image").resize(*SIZE_WH),
        }
    )
    found = detect(col("view"), col("width"), col("height"))
    frame.select(col("path").alias("uri"), found.alias("detections")).write_parquet(
        output, io_config=config
    )


def _model() -> Any:
    from lakesight.models import catalog

    return catalog.build(catalog.spec(MODEL, "detect"), NUM_CPUS)


def _bare(uri: str) -> str:
    return uri.removeprefix("s3://")


def _arrow_filesystem(uri: str) -> Any:
    if not uri.startswith("s3://"):
        return None
    from pyarrow.fs import S3FileSystem

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    return S3FileSystem(endpoint_override=endpoint, scheme="http")


def _daft_config(uri: str) -> Any:
    if not uri.startswith("s3://"):
        return None
    from daft.io import IOConfig, S3Config

    return IOConfig(
        s3=S3Config(
            endpoint_url=os.environ["AWS_ENDPOINT_URL"],
            key_id=os.environ["AWS_ACCESS_KEY_ID"],
            access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
            use_ssl=False,
        )
    )


CONTENDERS: dict[str, Callable[[str, str], None]] = {
    "ours": ours,
    "floor": floor,
    "ray-data": ray_data,
    "daft": daft,
}

if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](*sys.argv[2:4])
