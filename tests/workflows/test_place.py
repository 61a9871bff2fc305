"""Where a training keeps its files: a folder or a real bucket, and who may write there."""

import json
from collections.abc import Callable

import pytest

from lakesight.errors import UserError
from lakesight.lake.store import Store
from lakesight.training.loop import SETTINGS, STATE
from lakesight.training.yolo.job import TrainJob
from workflows.lease import leased
from workflows.place import LEASE, Place

JOB = TrainJob(data="d")


def test_an_output_has_one_training(new_root: Callable[[], str]) -> None:
    output = new_root()
    with Place(output) as place, place.held():
        assert not place.bind(JOB)
        with (
            pytest.raises(UserError, match=r"another run .*: wait until it is done"),
            Place(output) as other,
            other.held(),
        ):
            pass
    with Place(output) as place, place.held():
        assert not place.bind(JOB)
        with pytest.raises(UserError, match="epochs: 100, now 3"):
            place.bind(JOB.model_copy(update={"epochs": 3}))


def keys(output: str) -> list[str]:
    store, prefix = Store.open(output)
    return [key for page in store.list(prefix) for key in page["key"].to_pylist()]


def test_a_prefix_with_something_else_is_refused(shared_bucket: str) -> None:
    output = f"s3://{shared_bucket}/place/full"
    store, prefix = Store.open(output)
    store.put(f"{prefix}/thesis.txt", b"mine")
    with (
        pytest.raises(UserError, match="is not empty: name a new prefix"),
        Place(output) as place,
        place.held(),
    ):
        place.bind(JOB)
    assert keys(output) == [f"{prefix}/thesis.txt"]


def test_a_worker_takes_what_it_goes_on_from_and_no_lease(shared_bucket: str) -> None:
    output = f"s3://{shared_bucket}/place/worker"
    store, prefix = Store.open(output)
    with Place(output) as place, place.held():
        place.bind(JOB)
        store.put(f"{prefix}/{STATE}/ray/state", b"Ray's own")
        with Place(output) as worker:
            worker.pull_state()
            files = [one for one in worker.folder.rglob("*") if one.is_file()]
            assert [one.relative_to(worker.folder).as_posix() for one in files] == [
                f"{STATE}/{SETTINGS}"
            ]
            (worker.folder / STATE / "last.pt").write_bytes(b"new")
            worker.push_all()
        place.forget(f"{STATE}/ray")
        assert keys(output) == [
            f"{prefix}/{STATE}/{n}" for n in ("last.pt", "lease.json", SETTINGS)
        ]
    assert keys(output) == [f"{prefix}/{STATE}/{name}" for name in ("last.pt", SETTINGS)]


def test_a_dead_ones_lease_is_taken_over(shared_bucket: str) -> None:
    store, prefix = Store.open(f"s3://{shared_bucket}/place/dead")
    key = f"{prefix}/{LEASE}"
    assert store.create(key, json.dumps({"host": "gone", "process": 7}).encode())
    with (
        pytest.raises(UserError, match=r"\(process 7 of gone\).*delete .*lease\.json"),
        leased(store, key, dead_s=3600),
    ):
        pass
    with leased(store, key, dead_s=0):
        assert "token" in json.loads(store.get(key))
    assert not store.exists(key)


def test_a_lease_is_renewed_while_its_owner_lives(new_root: Callable[[], str]) -> None:
    store, prefix = Store.open(new_root())
    key = f"{prefix}/{LEASE}".lstrip("/")
    with leased(store, key, beat_s=0.05):
        store.delete(key)
        while not store.exists(key):
            pass
    assert not store.exists(key)
