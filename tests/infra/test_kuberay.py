"""The Kubernetes manifests against strict schemas, offline, and what they promise."""

import copy
import importlib.metadata
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = ROOT / "infra/kuberay"
SCHEMA = json.loads((Path(__file__).parent / "rayjob.schema.json").read_text())
KUBERNETES = "1.34"
SIZES = {"--num-actors", "--cpus-per-actor", "--gpus"}
CORE = ["namespace.yaml", "serviceaccount.yaml", "networkpolicy.yaml"]

Document = dict[str, Any]


@pytest.fixture
def job() -> Document:
    # Through JSON, so that what YAML anchors share can be changed in one place only.
    loaded = json.dumps(yaml.safe_load((KUBERAY / "rayjob.yaml").read_text()))
    document: Document = json.loads(loaded)
    return document


def pod_specs(job: Document) -> Iterator[tuple[str, Document]]:
    """Yield the name and the spec of every pod that the job starts."""
    cluster = job["spec"]["rayClusterSpec"]
    yield "submitter", job["spec"]["submitterPodTemplate"]["spec"]
    yield "head", cluster["headGroupSpec"]["template"]["spec"]
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group["template"]["spec"]


def check_pod(name: str, spec: Document) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def with_autoscaler(job: Document) -> Document:
    """Return the head's pod with the sidecar that KubeRay makes of `autoscalerOptions`."""
    cluster = job["spec"]["rayClusterSpec"]
    spec: Document = copy.deepcopy(cluster["headGroupSpec"]["template"]["spec"])
    options = cluster["autoscalerOptions"]
    fields = ("resources", "securityContext", "env", "volumeMounts")
    spec["containers"].append({"name": "autoscaler"} | {name: options[name] for name in fields})
    return spec


@pytest.mark.parametrize("name", CORE)
def test_core_kinds_are_valid(name: str) -> None:
    documents = list(yaml.safe_load_all((KUBERAY / name).read_text()))
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_job_is_valid(job: Document) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(job, SCHEMA)
    for name, spec in pod_specs(job):
        check_pod(name, spec)
    check_pod("head", with_autoscaler(job))


def test_a_misspelt_key_would_be_found(job: Document) -> None:
    job["spec"]["shutdownAfterJobFinish"] = True
    with pytest.raises(jsonschema.ValidationError, match="shutdownAfterJobFinish"):
        jsonschema.validate(job, SCHEMA)
    spec = dict(pod_specs(job))["gpu"]
    spec["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRootFileSystem"):
        check_pod("gpu", spec)


def test_workers_start_at_zero_and_nothing_is_left(job: Document) -> None:
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    groups = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert {group["groupName"]: group["minReplicas"] for group in groups} == {"cpu": 0, "gpu": 0}
    assert spec["rayClusterSpec"]["enableInTreeAutoscaling"] is True


def test_only_the_gpu_group_asks_for_a_gpu(job: Document) -> None:
    limits = {n: s["containers"][0]["resources"]["limits"] for n, s in pod_specs(job)}
    assert {name for name, limit in limits.items() if "nvidia.com/gpu" in limit} == {"gpu"}


def test_every_pod_meets_the_restricted_standard(job: Document) -> None:
    """As https://kubernetes.io/docs/concepts/security/pod-security-standards/ lists it."""
    for name, spec in [*pod_specs(job), ("head", with_autoscaler(job))]:
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert all("emptyDir" in volume for volume in spec["volumes"]), name
        for container in spec["containers"]:
            guard = container["securityContext"]
            assert guard["allowPrivilegeEscalation"] is False, name
            assert guard["capabilities"] == {"drop": ["ALL"]}, name
            assert guard["readOnlyRootFilesystem"] is True, name


def test_every_container_has_somewhere_to_write(job: Document) -> None:
    for name, spec in [*pod_specs(job), ("head", with_autoscaler(job))]:
        for container in spec["containers"]:
            mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounts, name
            assert {"name": "HOME", "value": "/tmp"} in container["env"], name
            volumes = {volume["name"] for volume in spec["volumes"]}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes, name


def gibibytes(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return int(quantity.removesuffix("Gi"))


def test_shared_memory_holds_the_object_store(job: Document) -> None:
    """Ray gives its object store 30 % of a node's memory, if /dev/shm has as much."""
    for name, spec in pod_specs(job):
        if name == "submitter":
            continue
        (shm,) = [volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == "shm"]
        memory = gibibytes(spec["containers"][0]["resources"]["limits"]["memory"])
        assert shm["medium"] == "Memory"
        assert 0.3 * memory <= gibibytes(shm["sizeLimit"]) < 0.5 * memory


def test_only_the_head_can_talk_to_the_api_server(job: Document) -> None:
    tokens = {name: spec["automountServiceAccountToken"] for name, spec in pod_specs(job)}
    assert tokens == {"submitter": False, "head": True, "cpu": False, "gpu": False}


def test_accounts_are_those_that_are_made(job: Document) -> None:
    accounts = {name: spec.get("serviceAccountName") for name, spec in pod_specs(job)}
    assert accounts.pop("submitter") is None
    made = yaml.safe_load_all((KUBERAY / "serviceaccount.yaml").read_text())
    assert set(accounts.values()) == {document["metadata"]["name"] for document in made}


def test_the_network_policy_covers_every_pod(job: Document) -> None:
    policy = yaml.safe_load((KUBERAY / "networkpolicy.yaml").read_text())
    wanted = policy["spec"]["podSelector"]["matchLabels"].items()
    cluster = job["spec"]["rayClusterSpec"]
    templates = [
        job["spec"]["submitterPodTemplate"],
        cluster["headGroupSpec"]["template"],
        *[group["template"] for group in cluster["workerGroupSpecs"]],
    ]
    assert all(wanted <= template["metadata"]["labels"].items() for template in templates)


def test_the_cluster_wants_a_token_and_our_ray(job: Document) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == importlib.metadata.version("ray")


def test_no_secret_is_written_down() -> None:
    text = "\n".join(path.read_text() for path in KUBERAY.glob("*.yaml"))
    for word in ("AWS_SECRET_ACCESS_KEY", "aws_secret", "AKIA", "RAY_AUTH_TOKEN", "kind: Secret"):
        assert word not in text


def test_the_entrypoint_is_our_command(job: Document) -> None:
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:4] == ["python", "-m", "workflows", "annotate"]
    assert [word[:5] for word in words[4:6]] == ["s3://", "s3://"]


def test_the_entrypoint_counts_on_the_workers_that_can_come(job: Document) -> None:
    """Pools are planned before the first worker is there: their size has to be said."""
    words = shlex.split(job["spec"]["entrypoint"])
    said = {flag: int(words[words.index(flag) + 1]) for flag in words if flag in SIZES}
    groups = {g["groupName"]: g for g in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    limits = dict(pod_specs(job))["cpu"]["containers"][0]["resources"]["limits"]
    assert said == {
        "--num-actors": groups["cpu"]["maxReplicas"],
        "--cpus-per-actor": int(limits["cpu"]),
        "--gpus": groups["gpu"]["maxReplicas"],
    }
