"""Our own cluster beside others on the same machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

OTHER = """
import ray
ray.init(address="local", num_cpus=0, include_dashboard=True)
print("ready", flush=True)
input()
"""

ASK = """
import os
import ray
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException
from workflows.cluster import DASHBOARD, cluster

@ray.remote(num_cpus=0)
class Controller:
    def own_id(self):
        return ray.get_runtime_context().get_actor_id()

@ray.remote(num_cpus=0)
def ask(actor_id):
    try:
        return get_actor(actor_id, timeout=10)
    except RayStateApiException:
        return "nobody answers"

with cluster(None, verbose=False):
    controller = Controller.remote()
    print(ray.get(ask.remote(ray.get(controller.own_id.remote()))), DASHBOARD in os.environ)
"""
"""What Ray Train asks of the controller of a training, which it ends where there is none."""

WITHOUT_RAY = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


@pytest.fixture
def other_cluster() -> Iterator[None]:
    """Run another cluster, with a dashboard, until the test is over."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=WITHOUT_RAY,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert any("ready" in line for line in process.stdout)
        yield
        process.stdin.close()  # `input` ends, and with it the cluster


@pytest.mark.usefixtures("other_cluster")
@pytest.mark.slow
def test_another_clusters_dashboard_is_not_asked_for_our_actors() -> None:
    found = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, env=WITHOUT_RAY, check=True
    )
    assert found.stdout.split("\n")[0] == "nobody answers False"


def test_a_start_without_a_raylet_ends_with_a_line() -> None:
    """It would wait for ever: `GRACE_S` after the raylet's end it is over."""
    start = "from workflows.cluster import cluster\nwith cluster(None, verbose=False): pass"
    with subprocess.Popen(
        [sys.executable, "-c", start], stderr=subprocess.PIPE, env=WITHOUT_RAY, text=True
    ) as process:
        raylet = born(process, "raylet")
        raylet.kill()
        said = process.communicate(timeout=100)[1]
        assert process.returncode == 1
    assert "Ray did not start: its raylet ended" in said
    assert "run the same command again" in said


def born(process: "subprocess.Popen[str]", name: str) -> psutil.Process:
    """Return the child of that name, as soon as there is one."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children():
            if child.name() == name:
                return child
        time.sleep(0.01)
    raise AssertionError(f"no child {name}")
