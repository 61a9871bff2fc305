"""Our own cluster beside others on the same machine."""

import os
import subprocess
import sys
from collections.abc import Iterator

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
def test_another_clusters_dashboard_is_not_asked_for_our_actors() -> None:
    found = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, env=WITHOUT_RAY, check=True
    )
    assert found.stdout.split("\n")[0] == "nobody answers False"
