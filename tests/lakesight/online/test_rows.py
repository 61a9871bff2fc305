"""Rows without a question, and their pictures: what may be seen, and what is never read."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lakesight.lake.local import etag_of
from lakesight.lake.uris import file_uri
from lakesight.online import key_file
from lakesight.online.keys import Scopes, make
from lakesight.online.sources import SourceSettings
from lakesight.schemas import row_id
from tests import photos
from tests.indexing import unit
from tests.serving import Running, running
from workflows.finder import open_index


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Running]:
    indexes = {name: str(place / name) for name in ("texts", "plain")}
    with running(open_index, indexes=indexes, num_threads=1) as found:
        yield found


def rows(server: Running, **asked: Any) -> list[dict[str, Any]]:
    answer = server.client.get("/v1/rows", params=asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_rows_are_spread_over_the_index(server: Running) -> None:
    whole = rows(server, k=1000)
    assert len(whole) == len(photos.NAMES) * 4
    assert [one["id"] for one in rows(server, k=2)] == [whole[0]["id"], whole[-1]["id"]]
    assert rows(server, k=1000, index="plain") == whole
    assert "embedding" not in whole[0]


def test_rows_that_fit_a_condition(server: Running) -> None:
    where = "list_contains([d.label for d in detections], 'cat')"
    found = rows(server, k=1000, where=where)
    expected = [one for one in rows(server, k=1000) if "cat" in labels(one)]
    assert found == expected
    assert found
    assert rows(server, where="width > 100000") == []


def labels(row: dict[str, Any]) -> set[str]:
    return {one["label"] for one in row["detections"]}


def test_one_row(server: Running) -> None:
    first = rows(server, k=1)[0]
    assert server.client.get(f"/v1/rows/{first['id']}").json() == first


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_picture_is_the_photo_made_small(server: Running, place: Path, size: str) -> None:
    row = rows(server, where="uri LIKE '%rocket-whole%'")[0]
    answer = server.client.get(f"/v1/rows/{row['id']}/picture", params={"size": size})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    shown = Image.open(BytesIO(answer.content)).convert("RGB")
    photo = Image.open(place / "photos" / "rocket-whole.jpg")
    most = 448 if size == "small" else photo.width  # it is smaller than 1024 pixels
    assert max(shown.size) <= most
    assert shown.width / shown.height == pytest.approx(photo.width / photo.height, rel=0.01)
    expected = photo.resize(shown.size, Image.Resampling.BOX)
    differences = [abs(a - b) for a, b in zip(shown.tobytes(), expected.tobytes(), strict=True)]
    assert sum(differences) / len(differences) < 4


def test_a_picture_is_kept_by_whoever_is_signed_in(server: Running) -> None:
    url = f"/v1/rows/{rows(server, k=1)[0]['id']}/picture"
    first = server.client.get(url)
    assert first.headers["cache-control"].startswith("private, max-age=")
    assert {"Cookie", "Authorization"} <= set(first.headers["vary"].split(", "))
    again = server.client.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = server.client.get(url, params={"size": "large"})
    assert other.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/rows?k=0", 422),
        ("/v1/rows?k=1001", 422),
        ("/v1/rows?where=colour%20%3D%201", 422),
        ("/v1/rows?where=1%20IN%20(SELECT%201%20FROM%20read_csv('/etc/passwd'))", 422),
        ("/v1/rows?index=none", 404),
        ("/v1/rows/x", 422),
        (f"/v1/rows/{'0' * 32}", 404),
        (f"/v1/rows/{'0' * 32}/picture", 404),
        (f"/v1/rows/{'0' * 32}/picture?size=huge", 422),
    ],
)
def test_what_is_refused(server: Running, path: str, status: int) -> None:
    answer = server.client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_picture_is_for_who_may_search_the_index(tmp_path: Path, place: Path) -> None:
    keys = tmp_path / "keys" / "keys.json"
    allowed = make("allowed", Scopes(indexes=("plain",)))
    other = make("other", Scopes(indexes=("texts",)))
    for made in (allowed, other):
        key_file.add(keys, made.key)
    indexes = {"plain": str(place / "plain")}
    with running(open_index, indexes=indexes, keys=keys, num_threads=1) as server:
        for token, status in ((allowed.token, 200), (other.token, 403), ("", 401)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            row = server.client.get("/v1/rows?k=1&index=plain", headers=headers)
            assert row.status_code == status
            path = f"/v1/rows/{photo_id(place)}/picture?index=plain"
            assert server.client.get(path, headers=headers).status_code == status


def test_pictures_can_be_switched_off(place: Path) -> None:
    sources = SourceSettings(rows=False)
    indexes = {"plain": str(place / "plain")}
    with running(open_index, sources=sources, indexes=indexes, num_threads=1) as server:
        answer = server.client.get(f"/v1/rows/{photo_id(place)}/picture")
    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/forbidden"


def photo_id(place: Path) -> str:
    found: str = open_index(str(place / "plain")).browse(1)["id"][0].as_py()
    return found


def test_only_the_very_object_that_was_looked_at_is_read(tmp_path: Path, place: Path) -> None:
    """Neither what replaced it, nor what a link leads to, nor a file that is no picture."""
    names = ("same", "replaced", "linked", "gone", "text")
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_bytes((place / "photos" / "rocket-whole.jpg").read_bytes())
    paths[-1].write_text("root:x:0:0")
    found = seen(paths)
    url = photos.publish(found, tmp_path / "index", None)
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9)).save(secret)
    paths[1].write_bytes(secret.read_bytes())
    paths[2].unlink()
    paths[2].symlink_to(secret)
    paths[3].unlink()
    with running(open_index, indexes={"changed": url}, num_threads=1) as server:
        answers = [server.client.get(f"/v1/rows/{one}/picture") for one in found["id"].to_pylist()]
    assert [answer.status_code for answer in answers] == [200, 404, 404, 404, 404]
    told = [answer.json()["detail"] for answer in answers[1:]]
    assert "overwritten" in told[0]
    assert "overwritten" in told[1]
    assert "not where" in told[2]
    assert not any(str(tmp_path) in one for one in told)


def seen(paths: list[Path]) -> pa.Table:
    """Return rows of files as they are now."""
    uris, etags = [file_uri(path) for path in paths], [etag_of(path.stat()) for path in paths]
    vectors = unit(len(paths), 4)
    return pa.table(
        {
            "id": [row_id(uri, etag) for uri, etag in zip(uris, etags, strict=True)],
            "uri": uris,
            "etag": etags,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(vectors)), 4),
        }
    )
