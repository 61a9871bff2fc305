"""`lakesight serve` and a deployment, on real Ray Serve behind HAProxy: changed, killed, drained.

Each takes 5 to 10 seconds to start on an idle machine, so few servers do for many questions.
"""

import contextlib
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parsed

from lakesight.errors import UserError
from lakesight.online import key_file
from tests.annotating import command
from tests.certificates import make_certificate
from tests.clusters import free_ports
from tests.lakesight.online.conftest import encoded
from workflows.__main__ import main
from workflows.serve import Serve, gpu_share
from workflows.serving import application

STARTS_S = 200
BUILD, REQUESTS = "lakesight_build_info", "lakesight_requests_total"
JPEG = encoded(3)
RAW = {"content-type": "image/jpeg"}


class Started:
    """A process that serves, and what it says."""

    def __init__(self, words: list[str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._new:
                self.lines.append(line.rstrip())
                self._new.notify_all()
        with self._new:
            self._new.notify_all()

    def said(self, pattern: str, after: int = 0) -> str:
        """Return the first line that fits, once there is one."""

        def found() -> str | None:
            return next((one for one in self.lines[after:] if re.search(pattern, one)), None)

        with self._new:
            fits = self._new.wait_for(lambda: found() or self.process.poll() is not None, STARTS_S)
            assert fits, f"{pattern!r} was never said: {self.lines}"
            assert found(), f"it ended: {self.lines}"
            return cast("str", found())

    def tell(self, what: dict[str, Any]) -> dict[str, Any]:
        """Send `tests.deployed` a line, and return its answer."""
        assert self.process.stdin
        after = len(self.lines)
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.said(r"^\{", after)))

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def replicas(self) -> list[psutil.Process]:
        found = []
        for child in self.children():
            with contextlib.suppress(psutil.Error):
                if "ServeReplica" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def end(self, how: signal.Signals | None = signal.SIGINT) -> int:
        """End it, and all that it started; return its exit code. None: it ends by itself."""
        children = self.children() if self.process.poll() is None else []
        try:
            if how is not None:
                self.process.send_signal(how)
            return self.process.wait(120)
        finally:
            self.process.kill()
            _, left = psutil.wait_procs(children, 30)
            for one in left:
                one.kill()
            self._reader.join()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe and not pipe.closed:
                    pipe.close()
            assert not left, left


class Load:
    """Clients that ask without a pause; what they were answered, and what went wrong."""

    def __init__(self, url: str, headers: dict[str, str], num_clients: int = 4) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(url, headers)) for _ in range(num_clients)
        ]

    def _ask(self, url: str, headers: dict[str, str]) -> None:
        with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/v1/detect?model=m", content=JPEG)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.answers[answer.text] += 1
                else:
                    self.failures.append(f"{answer.status_code} {answer.text}")

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def until_more(self, more: int = 8) -> None:
        wanted, end = self.answers.total() + more, time.monotonic() + 120
        while self.answers.total() < wanted:
            assert time.monotonic() < end, f"no more answers: {self.failures[-3:]}"
            time.sleep(0.02)


def config(model: str, **more: Any) -> dict[str, Any]:
    return {"models": [{"model": model, "name": "m"}], "refresh_s": 0.2, **more}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Started]:
    """`lakesight serve`, for the first time, by a file of settings."""
    (place / "serve.yaml").write_text(yaml.safe_dump(config("starter-yolo-detect")))
    (port,) = free_ports(1)
    words = ["--config", str(place / "serve.yaml"), "--keys", str(place / "keys" / "keys.json")]
    started = Started(command("serve", *words, "--port", str(port)), port)
    try:
        started.said("Serving at")
        yield started
    finally:
        if started.process.poll() is None:
            started.end()


@pytest.fixture(scope="module")
def headers(server: Started) -> dict[str, str]:
    token = server.said("shown this once").rpartition(" ")[2]
    return {**RAW, "authorization": f"Bearer {token}"}


def detect(server: Started, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/detect", content=JPEG, headers=headers, timeout=60)


def test_the_first_start_shows_a_key_once(
    server: Started, headers: dict[str, str], place: Path
) -> None:
    token = headers["authorization"].removeprefix("Bearer ")
    assert server.said("To sign in, once it serves").endswith(f"{server.url}/#key={token}")
    assert len(key_file.read(place / "keys" / "keys.json").keys) == 1
    assert token not in (place / "keys" / "keys.json").read_text()
    assert detect(server, RAW).status_code == 401
    answer = detect(server, headers)
    assert answer.status_code == 200, answer.text
    labels = [one["label"] for one in answer.json()["results"][0]["detections"]]
    assert labels == ["square", "square"]
    assert httpx.get(f"{server.url}/readyz").json() == {"status": "ready"}


def test_http_listens_on_this_machine_alone(server: Started) -> None:
    haproxy = [child for child in server.children() if child.name() == "haproxy"]
    assert haproxy
    addresses = {
        connection.laddr.ip
        for child in haproxy
        for connection in child.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}
    host = {**RAW, "host": "lakesight.example"}
    assert httpx.get(f"{server.url}/readyz", headers=host).status_code == 200


def test_the_proxy_beside_haproxy_has_a_door(server: Started) -> None:
    """Ray Serve's own, which HAProxy turns to where no replica answers."""
    alive = [one for one in server.children() if one.status() != psutil.STATUS_ZOMBIE]
    (proxy,) = [one for one in alive if "ProxyActor" in " ".join(one.cmdline())]
    listening = [
        one.laddr for one in proxy.net_connections("tcp") if one.status == psutil.CONN_LISTEN
    ]
    answers = []
    for address in listening:  # gRPC's too
        with socket.create_connection(address, timeout=10) as line:
            head = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n"
            line.sendall(head.encode())
            answers.append(line.recv(1 << 16).decode("latin1").lower())
    (answer,) = [one for one in answers if one.startswith("http/1.1")]
    assert answer.startswith("http/1.1 413")
    assert "x-content-type-options: nosniff" in answer


def test_a_client_cannot_say_who_it_is(server: Started, headers: dict[str, str]) -> None:
    """The address in the access log is the socket's, whatever X-Forwarded-For says."""
    said = {**headers, "x-forwarded-for": "203.0.113.9", "x-request-id": "forwarded-1"}
    assert detect(server, said).headers["x-request-id"] == "forwarded-1"
    (replica,) = server.replicas()
    logs = {Path(one.path) for one in replica.open_files() if "/logs/" in one.path}
    text = "\n".join(path.read_text(errors="replace") for path in logs)
    lines = [one for one in text.splitlines() if '"forwarded-1"' in one and '"client"' in one]
    assert lines
    assert [line for line in lines if '"client": "127.0.0.1"' not in line] == []


def test_headers_that_steer_ray_serve_do_not_reach_it(
    server: Started, headers: dict[str, str]
) -> None:
    """It reads them before the guard does: a deadline, a session, and an id as odd as can be."""
    odd = [
        (b"x-request-timeout-seconds", b"0.0001"),
        (b"x-session-id", b"\xff"),
        (b"serve_multiplexed_model_id", b"\xff"),
        (b"x-request-id", b"a b"),
    ]
    plain = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = httpx.post(f"{server.url}/v1/detect", content=JPEG, headers=[*plain, *odd], timeout=60)
    assert answer.status_code == 200, answer.text
    (request_id,) = answer.headers.get_list("x-request-id")
    assert request_id != "a b"


def test_the_first_key_reads_the_metrics(server: Started, headers: dict[str, str]) -> None:
    assert httpx.get(f"{server.url}/metrics").status_code == 401
    answer = httpx.get(f"{server.url}/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    (info,) = [family for family in parsed(answer.text) if family.name == BUILD]
    assert len(info.samples) == 1


def test_settings_change_under_load(server: Started, headers: dict[str, str], place: Path) -> None:
    before = detect(server, headers).text
    with Load(server.url, headers) as load:
        load.until_more()
        changed = yaml.safe_dump(config("starter-yolo-pose", max_batch=4))
        (place / "serve.yaml").write_text(changed)
        end = time.monotonic() + 120
        while len(load.answers) < 2:
            assert time.monotonic() < end, "the change was never served"
            time.sleep(0.05)
        load.until_more()
    assert load.failures == []
    assert set(load.answers) == {before, detect(server, headers).text}
    (place / "serve.yaml").write_text(yaml.safe_dump(config("starter-yolo-detect")))
    while detect(server, headers).text != before:
        assert time.monotonic() < end, "the change was never served"


def test_a_replica_that_is_killed_costs_what_it_had_in_hand(
    server: Started, headers: dict[str, str]
) -> None:
    """Failures are counted, and no answer is wrong: connections end, or are told to ask again."""
    right = detect(server, headers).text
    with Load(server.url, headers, num_clients=6) as load:
        load.until_more()
        (replica,) = server.replicas()
        replica.kill()
        psutil.wait_procs([replica], 30)
        load.until_more(20)
    assert set(load.answers) == {right}
    assert server.replicas() != [replica]
    lost = [one for one in load.failures if one.startswith("RemoteProtocolError")]
    refused = [one for one in load.failures if one.startswith("503 ") and "ask again" in one]
    assert len(lost) + len(refused) == len(load.failures), load.failures
    assert len(lost) <= 6, "each client had one request in its hand at most"
    print(f"{len(load.failures)} of {load.answers.total() + len(load.failures)} failed")


def test_batches_fill_with_the_load(server: Started, headers: dict[str, str]) -> None:
    """Ray Serve lets so many in that they can: of 32 who ask, up to 16 are looked at together."""

    def looked_at() -> tuple[float, float]:
        answer = httpx.get(f"{server.url}/metrics", headers=headers, timeout=60)
        samples = [one for family in parsed(answer.text) for one in family.samples]
        values = {one.name: one.value for one in samples if one.labels.get("model") == "m"}
        names = "lakesight_batch_size_sum", "lakesight_batch_size_count"
        return values.get(names[0], 0), values.get(names[1], 0)  # nobody has asked yet

    before = looked_at()
    with Load(server.url, headers, num_clients=32) as load:
        load.until_more(400)
    assert load.failures == []
    pictures, batches = (after - then for after, then in zip(looked_at(), before, strict=True))
    assert pictures >= 400
    assert pictures / batches > 3


def test_the_end_answers_what_was_asked(server: Started, headers: dict[str, str]) -> None:
    """The last of this server: it is told to end while it works."""
    answers: list[int] = []

    def ask() -> None:
        files = [("f", (str(number), JPEG)) for number in range(4)]
        own = {"authorization": headers["authorization"]}
        answers.append(
            httpx.post(f"{server.url}/v1/detect", files=files, headers=own, timeout=60).status_code
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    assert server.end() == 0
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    assert server.lines[-1] == "Stopping: what was asked is answered first"


def deployment(model: str, **changed: Any) -> dict[str, Any]:
    """Return infra/serve.yaml, but for this machine."""
    path = Path(__file__).parents[2] / "infra/serve.yaml"
    said: dict[str, Any] = yaml.safe_load(path.read_text())
    (application,) = said["applications"]
    access = {"keys": None, "anyone": True}
    application["args"] = {"safety": {"access": access}, **changed.get("args", {})}
    (own,) = application["deployments"]
    own["ray_actor_options"] = {"num_cpus": 0.5}
    own["user_config"] = config(model, num_threads=1)
    own["autoscaling_config"] |= {"upscale_delay_s": 1, **changed.get("scaling", {})}
    del said["http_options"]
    return said


@pytest.mark.parametrize("ingress", ["haproxy", "proxy"])
def test_tls(tmp_path: Path, ingress: str) -> None:
    """Under it alone: who speaks http to it is not answered."""
    made = make_certificate(tmp_path, "localhost")
    (port,) = free_ports(1)
    words = ["--model", "m=starter-yolo-detect", "--keys", str(tmp_path / "keys.json")]
    words += ["--tls-cert", str(made.certificate), "--tls-key", str(made.key)]
    started = Started(command("serve", *words, "--ingress", ingress, "--port", str(port)), port)
    try:
        started.said("Serving at https://")
        token = started.said("shown this once").rpartition(" ")[2]
        trusted = ssl.create_default_context(cafile=str(made.certificate))
        sent: dict[str, Any] = {
            "headers": {**RAW, "authorization": f"Bearer {token}"},
            "content": JPEG,
        }
        answer = httpx.post(
            f"https://localhost:{port}/v1/detect", verify=trusted, timeout=60, **sent
        )
        assert answer.status_code == 200, answer.text
        assert "max-age=" in answer.headers["strict-transport-security"]
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"http://localhost:{port}/v1/detect", timeout=10, **sent).raise_for_status()
    finally:
        started.end()


@pytest.fixture
def deployed() -> Iterator[Started]:
    (port,) = free_ports(1)
    started = Started([sys.executable, "-m", "tests.deployed", str(port)], port)
    try:
        started.said("READY")
        yield started
    finally:
        assert started.process.stdin
        started.process.stdin.close()
        started.end(None)


@pytest.mark.slow
def test_a_deployment_changes_scales_to_zero_and_back(deployed: Started) -> None:
    zero = {"downscale_to_zero_delay_s": 1, "downscale_delay_s": 1, "look_back_period_s": 2}
    assert deployed.tell(deployment("starter-yolo-detect"))["status"] == "RUNNING"
    assert deployed.tell({"replicas": 1}) == {"replicas": 0}
    first = detect(deployed, RAW)  # it waits for a replica to start
    assert first.status_code == 200, first.text
    with Load(deployed.url, RAW) as load:
        load.until_more()
        # what is served changes in place
        assert deployed.tell(deployment("starter-yolo-pose"))["status"] == "RUNNING"
        load.until_more()
        (replica,) = deployed.replicas()
        # what lies around it starts other replicas
        other = {"args": {"sources": {"s3": ["s3://bucket/a/"]}}}
        assert deployed.tell(deployment("starter-yolo-pose", **other))["status"] == "RUNNING"
        load.until_more()
        assert replica not in deployed.replicas()
    assert load.failures == []
    assert set(load.answers) == {first.text, detect(deployed, RAW).text}
    growing = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 1}
    deployed.tell(deployment("starter-yolo-pose", **other, scaling=growing))
    with Load(deployed.url, RAW, num_clients=8) as load:  # who waits has a second one started
        end = time.monotonic() + 120
        while deployed.tell({"replicas": 1}) != {"replicas": 2}:
            assert time.monotonic() < end, "it never grew"
            time.sleep(0.5)
    assert load.failures == []
    any_replica_tells_the_metrics_of_all(deployed)
    deployed.tell(deployment("starter-yolo-pose", **other, scaling=zero))
    end = time.monotonic() + 120
    while deployed.tell({"replicas": 1}) != {"replicas": 0}:
        assert time.monotonic() < end, "it never went to zero"
        time.sleep(1)
    assert detect(deployed, RAW).status_code == 200


def any_replica_tells_the_metrics_of_all(deployed: Started) -> None:
    """Whichever is asked; one that is killed takes its counts with it, and no other's."""

    def counts() -> dict[str, float]:
        """Return how many requests each has answered; nothing where a dead one was asked."""
        try:
            answer = httpx.get(f"{deployed.url}/metrics", timeout=60)
        except httpx.RemoteProtocolError:
            return {}
        if answer.status_code == 503:
            return {}
        samples = [one for family in parsed(answer.text) for one in family.samples]
        found = {one.labels["replica"]: 0.0 for one in samples if one.name == BUILD}
        for one in samples:
            if one.name == REQUESTS and one.labels["route"] == "/v1/detect":
                found[one.labels["replica"]] += one.value
        return found

    def wait_for(wanted: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        end = time.monotonic() + 120
        while not wanted(found := counts()):
            assert time.monotonic() < end, found
            time.sleep(0.2)
        return found

    before = wait_for(lambda found: len(found) == 2)
    with Load(deployed.url, RAW) as load:
        load.until_more(20)
    num_asked = load.answers.total() + len(load.failures)
    after = counts()
    assert [counts() for _ in range(4)] == [after] * 4
    assert after.keys() == before.keys()
    assert sum(after.values()) == sum(before.values()) + num_asked
    assert min(after[name] - before[name] for name in after) > 0, "both were asked"
    (one, _) = deployed.replicas()
    one.kill()
    left = wait_for(lambda found: len(found) == 1)
    assert left.items() <= after.items()
    again = wait_for(lambda found: len(found) == 2)
    assert left.items() <= again.items()
    assert again.keys() != after.keys()


def test_a_deployment_without_keys_is_asked_for_twice() -> None:
    """`serve deploy` listens where the cluster was told to, which may be everywhere."""
    with pytest.raises(UserError, match="anyone: true"):
        application({"safety": {"access": {"keys": None}}})


@pytest.mark.parametrize("behind", [True, False])
def test_tls_may_end_in_front(behind: bool) -> None:
    safety = Serve(model=("starter-yolo-detect",), behind_tls=behind).safety()
    assert safety.access.is_tls == behind
    assert (safety.headers.hsts_s > 0) == behind


@pytest.mark.parametrize(
    ("gpus", "num_replicas", "share"),
    [
        ([0], 1, 0),
        ([1], 1, 1),
        ([3], 1, 3),
        ([2], 2, 1),
        ([3], 2, 1),
        ([1, 1, 1, 1], 1, 1),
        ([8, 8], 4, 4),
        ([1], 2, 0.5),
        ([1], 3, 0.3333),
    ],
)
def test_gpus_are_shared_out(gpus: list[float], num_replicas: int, share: float) -> None:
    """Whole ones where there are enough: Ray packs parts of one GPU onto the same."""
    assert gpu_share(gpus, num_replicas) == share


def test_wishes_that_cannot_be_served_are_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place))
    busy = socket.create_server(("127.0.0.1", 0))
    port = busy.getsockname()[1]
    cases = {
        (): "nothing to serve",
        ("--model", "starter-yolo-detekt"): "did you mean starter-yolo-detect",
        ("--model", "starter-yolo-detect", "--port", str(port)): "is taken",
        (
            "--model",
            "starter-yolo-detect",
            "--no-auth",
            "--host",
            "0.0.0.0",
        ): "--no-auth listens on",
        (
            "--model",
            "starter-yolo-detect",
            "--no-auth",
            "--address",
            "127.0.0.1:1",
        ): "a cluster that is joined",
        ("--model", "starter-yolo-detect", "--set", "score=1"): "--set wants KIND.OPTION=VALUE",
        ("--model", "starter-yolo-detect", "--set", "detect.score=1"): "option score of",
        ("--model", "starter-yolo-detect", "--set", "cars.detect.top=1"): "cars, which no --model",
        ("--set", "detect.score=1", "--index", "x"): "go with --model",
        ("--model", "starter-yolo-detect", "--index", str(place)): "no index at",
        ("--model", "starter-yolo-detect", "--tls-cert", "a.pem"): "go together",
        ("--config", str(place / "none.yaml")): "cannot read",
        ("--model", "starter-yolo-detect", "--https", "http://x"): "is no host name",
        ("--model", "starter-yolo-detect", "--s3", "lake/"): "s3://",
        (
            "--model",
            "a=starter-yolo-detect",
            "--model",
            "a=starter-yolo-obb",
        ): "two models are called",
    }
    with busy:
        for words, message in cases.items():
            assert main(["serve", *words]) == 2, words
            said = capsys.readouterr()
            assert message in said.err, (words, said.err)
            assert len(said.err.strip().splitlines()) == 1, said.err
            assert not said.out
