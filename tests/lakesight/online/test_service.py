"""What is served changes while requests come: none is refused, none is answered by half of it."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import lakesight.starter
from indexes.store import IndexStore
from lakesight.errors import UserError
from lakesight.online.offers import told
from lakesight.online.problems import Problem
from lakesight.online.service import Service
from tests.annotating import picture
from tests.indexing import publish, unit
from tests.serving import Running, running
from workflows.finder import open_index

STARTER = Path(lakesight.starter.__file__).parent
ROW = f"{7:032x}"


def jpeg(seed: int = 3) -> bytes:
    file = BytesIO()
    picture(seed).save(file, "JPEG", quality=90)
    return file.getvalue()


def detect(client: httpx.Client, name: str = "m") -> httpx.Response:
    head = {"content-type": "image/jpeg"}
    return client.post(f"/v1/detect?model={name}", content=jpeg(), headers=head)


@contextmanager
def under_load(
    server: Running, ask: Callable[[httpx.Client], httpx.Response], num_clients: int = 4
) -> Iterator[Counter[str]]:
    """Ask without a pause meanwhile; yield how often each answer came."""
    answers: Counter[str] = Counter()
    stop = threading.Event()

    def work() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not stop.is_set():
                response = ask(client)
                assert response.status_code == 200, response.text
                answers[response.text] += 1

    threads = [threading.Thread(target=work) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def until_more(answers: Counter[str], more: int = 8) -> None:
    wanted, end = answers.total() + more, time.monotonic() + 60
    while answers.total() < wanted:
        assert time.monotonic() < end, "no more answers"
        time.sleep(0.01)


def test_models_and_limits_change_under_load() -> None:
    one: dict[str, Any] = {"models": [{"model": "starter-yolo-detect", "name": "m"}]}
    other: dict[str, Any] = {"models": [{"model": "starter-yolo-pose", "name": "m"}]}
    changes = [
        other,
        one,
        {**one, "limits": {"max_pixels": 1_000_000}},  # other decoders
        {**one, "max_batch": 2, "max_in_flight": 3},  # another engine
        {**other, "max_loaded": 1},
    ]
    with running(**one) as server:
        first = detect(server.client).text
        with under_load(server, detect) as answers:
            until_more(answers)
            for change in changes:
                server.configure(**change)
                until_more(answers)
        last = detect(server.client).text
        assert last != first
        assert set(answers) == {first, last}, "every answer is of the one or of the other"


def test_the_old_stays_open_for_those_who_use_it() -> None:
    async def run(server: Running) -> None:
        async with server.service.visit() as before:
            await server.service.configure(lambda: told({"limits": {"max_pixels": 9_000_000}}))
            async with server.service.visit() as now:
                assert now is not before
            (name,) = before.models
            spec = before.models[name].main
            assert spec.card.view is not None
            decoded = await before.decoder.decode(jpeg(), [spec.card.view])
            assert before.engine.is_loaded(spec)
            async with before.using(spec) as opened:
                assert opened.is_alive
        assert decoded.width == 160  # type: ignore[union-attr]  # it is no error

    with running(models=["starter-yolo-detect"]) as server:
        server.call(run(server))


def test_what_cannot_be_served_changes_nothing() -> None:
    with running(models=[{"model": "starter-yolo-detect", "name": "m"}]) as server:
        before = detect(server.client).text
        wrong: list[dict[str, Any]] = [
            {"models": ["starter-yolo-detekt"]},
            {"models": ["starter-yolo-detect", "starter-yolo-detect"]},
            {"models": [{"model": "starter-yolo-detect", "options": {"detect": {"x": 1}}}]},
            {"models": [{"model": "starter-yolo-detect", "options": {"caption": {}}}]},
            {"indexes": {"photos": "/nowhere"}},
            {"modles": []},
        ]
        for settings in wrong:
            with pytest.raises(UserError):
                server.configure(**settings)
        assert detect(server.client).text == before


def test_a_file_of_settings_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump({"models": ["starter-yolo-detect"]}))
    with running(file=str(path)) as server:

        def names() -> list[str]:
            return [one["id"] for one in server.client.get("/v1/models").json()["data"]]

        assert names() == ["starter-yolo-detect"]
        path.write_text(yaml.safe_dump({"models": ["starter-yolo-detect", "starter-yolo-obb"]}))
        server.call(server.service.refresh())
        assert names() == ["starter-yolo-detect", "starter-yolo-obb"]
        path.write_text("models: [")
        server.call(server.service.refresh())
        assert names() == ["starter-yolo-detect", "starter-yolo-obb"], "what is broken is no news"


def test_a_model_that_was_published_anew_is_served(tmp_path: Path) -> None:
    folder = shutil.copytree(STARTER / "yolo-detect", tmp_path / "model")
    with running(models=[{"model": str(folder), "name": "m"}]) as server:
        before = detect(server.client).text
        with under_load(server, detect) as answers:
            until_more(answers)
            for name in ("model.safetensors", "card.json"):  # the card last, as trainings do
                shutil.copy(STARTER / "yolo-pose" / name, folder / name)
            server.call(server.service.refresh())
            until_more(answers)
        after = detect(server.client).text
        assert "keypoints" in after
        assert set(answers) == {before, after}
        card = (folder / "card.json").read_text()
        (folder / "card.json").write_text(card[:100])
        server.call(server.service.refresh())
        assert detect(server.client).text == after


def test_it_looks_by_itself_whether_something_is_new(tmp_path: Path) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text("models: [starter-yolo-detect]")
    with running(file=str(path), refresh_s=0.05) as server:
        path.write_text("models: [starter-yolo-obb]")
        end = time.monotonic() + 60
        while server.client.get("/v1/models/starter-yolo-obb").status_code != 200:
            assert time.monotonic() < end, "it never looked"
            time.sleep(0.05)


def test_an_index_that_was_published_anew_is_searched(tmp_path: Path) -> None:
    store = IndexStore.open(str(tmp_path / "index"))
    publish(store, unit(50, 8), "first")

    def search(client: httpx.Client) -> httpx.Response:
        response = client.post("/v1/search", json={"id": ROW, "k": 3})
        response._content = response.json()["build"].encode()
        return response

    with running(open_index, indexes={"photos": str(tmp_path / "index")}) as server:
        with under_load(server, search) as answers:
            until_more(answers)
            for number in range(3):  # the first build is swept away meanwhile
                publish(store, unit(50 + number, 8), f"next{number}")
                server.call(server.service.refresh())
                until_more(answers)
        assert set(answers) == {"first", "next0", "next1", "next2"}
        answer = server.client.post("/v1/search", json={"id": ROW}).json()
        assert (answer["build"], answer["count"]) == ("next2", 52)


def test_a_file_with_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    """A limit that somebody believes in is not to be absent."""
    path = tmp_path / "serve.yaml"
    path.write_text("models: [starter-yolo-detect]\nmax_picture: 8\n")
    with pytest.raises(UserError, match=r"max_picture.*max_pictures"):
        told({"file": str(path)})


def test_before_and_after_nothing_is_answered() -> None:
    async def visited(service: Service) -> None:
        async with service.visit():
            pass

    async def run() -> None:
        service = Service()
        assert service.is_alive
        with pytest.raises(Problem, match="no model is loaded"):
            await visited(service)
        await service.configure(lambda: told({"models": ["starter-yolo-detect"]}))
        await visited(service)
        assert service.is_ready
        await service.close()
        assert not service.is_ready
        with pytest.raises(Problem, match="no model is loaded"):
            await visited(service)

    import asyncio

    asyncio.run(run())
