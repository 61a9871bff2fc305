"""`python -m tests.deployed PORT`: Ray Serve of its own, told by lines of JSON what to deploy.

What `serve deploy` sends over HTTP to Ray's dashboard, this hands to Serve's controller itself: a
cluster for a test has no dashboard. Each line is answered by one of `{"status": …}` once it is in
force, and `{"replicas": …}` by how many run.
"""

import json
import sys
import time
from typing import Any

from lakesight.online.access import AccessSettings
from lakesight.online.guard import SafetySettings
from workflows.cluster import cluster
from workflows.ingress import http_options, prepared
from workflows.serving import APP

DEPLOYED_S = 120


def main() -> None:
    port = int(sys.argv[1])
    safety = SafetySettings(access=AccessSettings(keys=None))
    with prepared("haproxy", port, None, safety), cluster(None, verbose=False):
        from ray import serve
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        serve.start(http_options=http_options("haproxy", "127.0.0.1", port, None))
        client: Any = _get_global_client()
        print(json.dumps({"status": "READY"}), flush=True)
        for line in sys.stdin:
            told: dict[str, Any] = json.loads(line)
            if "replicas" in told:
                answer: dict[str, Any] = {"replicas": _replicas(serve)}
            else:
                client.deploy_apps(ServeDeploySchema.model_validate(told))
                answer = {"status": _settled(serve)}
            print(json.dumps(answer), flush=True)
        serve.shutdown()  # type: ignore[no-untyped-call]


def _settled(serve: Any) -> str:
    """Return how a deployment ended, once it has."""
    end = time.monotonic() + DEPLOYED_S
    while time.monotonic() < end:
        time.sleep(0.2)
        found = serve.status().applications.get(APP)
        if found and found.status in ("RUNNING", "DEPLOY_FAILED", "UNHEALTHY"):
            return str(found.status.value)
    return "LATE"


def _replicas(serve: Any) -> int:
    (deployment,) = serve.status().applications[APP].deployments.values()
    return int(deployment.replica_states.get("RUNNING", 0))


if __name__ == "__main__":
    main()
