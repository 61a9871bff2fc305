"""ray_cluster.yaml against Ray's own validation and EC2's own request shape, offline."""

import copy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import click
import jsonschema
import pytest
import yaml
from ray.autoscaler._private.aws.config import _configure_iam_role, _configure_security_group
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_CLUSTER_NAME
from ray.scripts.scripts import start

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "ray_cluster.yaml"

Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    prepared: Config = prepare_config(yaml.safe_load(PATH.read_text()))
    return prepared


def node_configs(config: Config) -> dict[str, Config]:
    return {name: kind["node_config"] for name, kind in config["available_node_types"].items()}


def request_errors(node_config: Config) -> str:
    """Return what EC2's RunInstances would not take, by botocore's model of the service."""
    request = node_config | {"MinCount": 1, "MaxCount": 1}
    request["SubnetId"] = request.pop("SubnetIds")[0]  # as Ray's AWS provider does
    service = botocore.session.get_session().get_service_model("ec2")
    shape = service.operation_model("RunInstances").input_shape
    assert shape is not None
    report: str = botocore.validate.ParamValidator().validate(request, shape).generate_report()
    return report


def test_ray_accepts_it(config: Config) -> None:
    validate_config(config)


def test_ray_would_refuse_a_misspelt_key(config: Config) -> None:
    config["available_node_types"]["gpu-worker"]["min_worker"] = 0
    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        validate_config(config)


def test_ec2_accepts_every_machine(config: Config) -> None:
    assert {name: request_errors(node) for name, node in node_configs(config).items()} == {
        "head": "",
        "cpu-worker": "",
        "gpu-worker": "",
    }


def test_ec2_would_refuse_a_misspelt_key(config: Config) -> None:
    node = node_configs(config)["head"] | {"MetadataOption": {}}
    assert "MetadataOption" in request_errors(node)


def test_nothing_runs_when_nothing_is_asked(config: Config) -> None:
    workers = {k: v for k, v in config["available_node_types"].items() if k != "head"}
    assert [kind["min_workers"] for kind in workers.values()] == [0, 0]
    assert sum(kind["max_workers"] for kind in workers.values()) <= config["max_workers"]
    assert config["idle_timeout_minutes"] <= 10
    assert config["provider"]["cache_stopped_nodes"] is False


def test_ray_makes_no_role_and_no_security_group_of_its_own(config: Config) -> None:
    """Ray's own would have full access to EC2 and S3, and SSH open to the world.

    Ray asks AWS where it has to make one: without credentials or a network that would raise.
    """
    before = copy.deepcopy(config)
    steps: list[Callable[[Config], Config]] = [_configure_iam_role, _configure_security_group]
    assert [step(config) for step in steps] == [before, before]


def test_metadata_service_and_disks_are_guarded(config: Config) -> None:
    for node in node_configs(config).values():
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert node["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert [disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"]] == [True]


def test_token_auth_is_on_before_every_ray_start(config: Config) -> None:
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        (command,) = [command for command in commands if "ray start" in command]
        assert command.index("export RAY_AUTH_MODE=token") < command.index("ray start")
    assert "--dashboard-host=127.0.0.1" in " ".join(config["head_start_ray_commands"])
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_start_knows_every_flag(config: Config, role: str) -> None:
    text = " ".join(config[f"{role}_start_ray_commands"])
    flags = shlex.split(text.rpartition("ray start ")[2])
    context = start.make_context("start", flags, resilient_parsing=False)
    assert context.params["head"] is (role == "head")
    with pytest.raises(click.NoSuchOption):
        start.make_context("start", [*flags, "--dashboard-hosts=x"])


def test_what_is_copied_is_there_and_can_be_installed(config: Config) -> None:
    mounts = {
        remote: local for remote, local in config["file_mounts"].items() if "/.ray/" not in remote
    }
    missing = [local for local in mounts.values() if not (ROOT / local).exists()]
    assert missing == []
    assert all(Path(remote).name == local for remote, local in mounts.items())


def test_profiles_and_name_are_those_of_the_iam_template(config: Config) -> None:
    template = (ROOT / "infra/iam.yaml").read_text()
    assert f"Default: {config['cluster_name']}\n" in template
    assert f"aws:RequestTag/{TAG_RAY_CLUSTER_NAME}" in template
    for name, node in node_configs(config).items():
        role = "head" if name == "head" else "worker"
        assert node["IamInstanceProfile"] == {"Name": f"{config['cluster_name']}-{role}"}
        assert f"InstanceProfileName: !Sub ${{ClusterName}}-{role}\n" in template
