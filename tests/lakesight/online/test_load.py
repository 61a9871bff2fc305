import asyncio
import threading

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from lakesight.online.load import Load, LoadLimits
from lakesight.online.refusing import RefusalSettings, Refusing
from tests.http_server import running, until

LIMITS = LoadLimits(max_requests=2, retry_after_s=3, answer_s=0.5, stream_s=0.5)


class Slow:
    """Answers when it is told to, and says when it was given up."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.num_begun = 0
        self.num_cancelled = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.num_begun += 1
        try:
            if scope["path"] == "/v1/stream":
                start = {"type": "http.response.start", "status": 200, "headers": []}
                await send(start)
                while True:
                    await send({"type": "http.response.body", "body": b"x", "more_body": True})
                    await asyncio.sleep(0.05)
            if scope["path"] == "/v1/timeout":
                raise TimeoutError
            while not self.go.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        await PlainTextResponse("done")(scope, receive, send)


@pytest.fixture
def slow() -> Slow:
    return Slow()


def served(slow: Slow, limits: LoadLimits) -> Refusing:
    return Refusing(Load(slow, limits), RefusalSettings())


def test_an_answer_in_time(slow: Slow) -> None:
    slow.go.set()
    with running(served(slow, LIMITS)) as address:
        assert httpx.get(f"{address}/v1/x").text == "done"


def test_an_answer_too_late_is_a_504(slow: Slow) -> None:
    with running(served(slow, LIMITS)) as address:
        answer = httpx.get(f"{address}/v1/x")
        assert answer.status_code == 504
        assert answer.json()["type"] == "/problems/deadline"
        assert slow.num_cancelled == 1
        slow.go.set()
        assert httpx.get(f"{address}/v1/x").text == "done"


def test_a_stream_that_does_not_end_is_cut(slow: Slow) -> None:
    with running(served(slow, LIMITS)) as address:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{address}/v1/stream")
        assert slow.num_cancelled == 1


def test_a_timeout_of_the_app_is_its_own_mistake(slow: Slow) -> None:
    with running(served(slow, LIMITS)) as address:
        assert httpx.get(f"{address}/v1/timeout").status_code == 500


def test_too_many_at_once_are_told_to_come_again(slow: Slow) -> None:
    limits = LIMITS.model_copy(update={"answer_s": 30.0})
    statuses = []
    with running(served(slow, limits)) as address:

        def ask() -> None:
            statuses.append(httpx.get(f"{address}/v1/x", timeout=60).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: slow.num_begun == 2)
        answer = httpx.get(f"{address}/v1/x")
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "3"
        assert answer.json()["type"] == "/problems/busy"
        slow.go.set()
        for thread in threads:
            thread.join()
        assert httpx.get(f"{address}/v1/x").text == "done", "room again"
    assert statuses == [200, 200]


def test_health_is_answered_however_busy_it_is(slow: Slow) -> None:
    limits = LIMITS.model_copy(update={"answer_s": 30.0, "max_requests": 1})
    with running(served(slow, limits)) as address:
        thread = threading.Thread(
            target=httpx.get, args=[f"{address}/v1/x"], kwargs={"timeout": 60}
        )
        thread.start()
        until(lambda: slow.num_begun == 1)
        health = threading.Thread(target=httpx.get, args=[f"{address}/healthz"])
        health.start()
        until(lambda: slow.num_begun == 2)
        slow.go.set()
        health.join()
        thread.join()
    assert slow.num_cancelled == 0
