"""infra/serve.yaml as it is shipped: Ray Serve's own schema, and what our code reads of it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakesight.online.offers import told
from workflows.serving import MAX_ONGOING, Around

FILE = Path(__file__).parents[2] / "infra" / "serve.yaml"
PARSE = """
import sys, yaml
from ray.serve.schema import ServeDeploySchema
ServeDeploySchema.model_validate(yaml.safe_load(sys.stdin))
"""


@pytest.fixture
def application() -> dict[str, Any]:
    (found,) = yaml.safe_load(FILE.read_text())["applications"]
    return dict(found)


def _parsed(text: str) -> int:
    """Return how Ray's schema takes it; importing it warns, which is an error here."""
    ended = subprocess.run(
        [sys.executable, "-c", PARSE], input=text, text=True, capture_output=True
    )
    return ended.returncode


def test_ray_serve_takes_it() -> None:
    text = FILE.read_text()
    assert _parsed(text) == 0
    assert _parsed(text.replace("import_path:", "import_pth:")) != 0


def test_our_code_takes_its_args_and_settings(application: dict[str, Any]) -> None:
    around = Around.model_validate(application["args"])
    assert around.safety.access.keys
    (deployment,) = application["deployments"]
    assert deployment["max_ongoing_requests"] == MAX_ONGOING
    serving = told(deployment["user_config"])
    assert serving.models
    assert serving.indexes
    most = deployment["autoscaling_config"]["max_replicas"]
    assert around.safety.access.num_processes == most
