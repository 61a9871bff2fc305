"""The CloudFormation templates by cfn-lint, and what their policies do not allow."""

import fnmatch
import json
from pathlib import Path
from typing import Any

import cfnlint.api  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

INFRA = Path(__file__).resolve().parents[2] / "infra"
TEMPLATES = ["iam.yaml", "network.yaml"]


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags as `{"Fn::Sub": …}`."""


def _tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)
    return {suffix: loader.construct_sequence(node, deep=True)}


Loader.add_multi_constructor("!", _tag)


def lint(template: str) -> list[str]:
    return [f"{found.rule.id} {found.message}" for found in cfnlint.api.lint(template)]


def statements(role: str) -> list[dict[str, Any]]:
    template = yaml.load((INFRA / "iam.yaml").read_text(), Loader)
    resource = template["Resources"][role]["Properties"]
    documents = [policy["PolicyDocument"] for policy in resource.get("Policies", [])]
    documents += [resource["PolicyDocument"]] if "PolicyDocument" in resource else []
    return [statement for document in documents for statement in document["Statement"]]


def actions(statement: dict[str, Any]) -> list[str]:
    found = statement["Action"]
    return [found] if isinstance(found, str) else found


@pytest.mark.parametrize("name", TEMPLATES)
def test_cfn_lint_finds_nothing(name: str) -> None:
    assert lint((INFRA / name).read_text()) == []


def test_cfn_lint_would_find_a_misspelt_property() -> None:
    template = (INFRA / "iam.yaml").read_text().replace("ManagedPolicyArns", "PolicyArns")
    assert any("'PolicyArns' was unexpected" in message for message in lint(template))


def test_s3_is_read_write_and_list_only() -> None:
    allowed = {action for statement in statements("LakePolicy") for action in actions(statement)}
    wanted = {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"}
    assert allowed == wanted | {"s3:DeleteObject"}
    write = [s for s in statements("LakePolicy") if "s3:PutObject" in actions(s)]
    assert [s["Resource"] for s in write] == [
        {"Sub": "arn:${AWS::Partition}:s3:::${OutputBucket}/${OutputPrefix}*"}
    ]


@pytest.mark.parametrize(
    ("key", "may"),
    [
        ("seen/_tmp/0f", True),
        ("seen/_commits/manifest/0f-00000.parquet", True),
        ("index/builds/b/index.faiss", True),
        ("seen/data/00001-000000.parquet", False),
        ("seen/_commits/00001.json", False),
        ("seen/_runs/r.json", False),
        ("index/current.json", False),
    ],
)
def test_rows_and_commits_cannot_be_deleted(key: str, may: bool) -> None:
    (sweep,) = [s for s in statements("LakePolicy") if "s3:DeleteObject" in actions(s)]
    patterns = [resource["Sub"].split("${OutputPrefix}")[1] for resource in sweep["Resource"]]
    assert any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns) is may


def test_no_statement_allows_everything() -> None:
    for statement in statements("LakePolicy") + statements("HeadRole"):
        assert not [action for action in actions(statement) if "*" in action]
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in actions(statement))


def test_workers_cannot_start_machines() -> None:
    assert statements("WorkerRole") == []
    assert statements("JobRole") == []


def test_the_head_ends_only_its_own_machines() -> None:
    (ending,) = [s for s in statements("HeadRole") if "ec2:TerminateInstances" in actions(s)]
    assert ending["Condition"] == {
        "StringEquals": {"aws:ResourceTag/ray-cluster-name": {"Ref": "ClusterName"}}
    }


def test_the_trust_of_the_job_role_is_json_and_names_our_accounts() -> None:
    template = yaml.load((INFRA / "iam.yaml").read_text(), Loader)
    text = template["Resources"]["JobRole"]["Properties"]["AssumeRolePolicyDocument"]["Sub"]
    condition = json.loads(text)["Statement"][0]["Condition"]["StringEquals"]
    accounts = [
        document["metadata"]["name"]
        for document in yaml.safe_load_all((INFRA / "kuberay/serviceaccount.yaml").read_text())
    ]
    assert condition["${OidcProvider}:sub"] == [
        f"system:serviceaccount:${{KubernetesNamespace}}:{name}" for name in accounts
    ]


def test_ssh_cannot_be_opened_to_the_world() -> None:
    template = yaml.load((INFRA / "network.yaml").read_text(), Loader)
    cidr = template["Parameters"]["AdminCidr"]
    assert "Default" not in cidr
    assert "0.0.0.0/0" not in (INFRA / "network.yaml").read_text()
    (rule,) = template["Resources"]["ClusterGroup"]["Properties"]["SecurityGroupIngress"]
    assert rule["CidrIp"] == {"Ref": "AdminCidr"}
