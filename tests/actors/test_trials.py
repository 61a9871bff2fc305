"""What gives Ray Tune its trials and takes what comes of them, and ASHA over a resumed search."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from actors.trials import Proposals, asha, train
from lakesight.training.trials import Trial, Trials
from lakesight.training.yolo.job import TrainJob

JOB = TrainJob(data="scenes/", epochs=3)


class Followed(list[Trial]):
    def __call__(self, trial: Trial) -> None:
        self.append(trial)


def proposals(trials: Trials, count: int, followed: Followed) -> Proposals:
    def propose(number: int, over: Sequence[Trial]) -> dict[str, float]:
        return {"momentum": number / 10, "loss.box": 1.0 + len(over)}

    return Proposals(JOB, trials, trials.pending(count), propose, followed)


def test_trials_are_proposed_and_written_down(tmp_path: Path) -> None:
    followed = Followed()
    made = proposals(Trials(tmp_path), 4, followed)
    first, second, third = (made.suggest(name) for name in "abc")
    assert TrainJob.model_validate(first["job"]).momentum == 0.1
    assert second["folder"].endswith("trials/0002")
    made.on_trial_result("a", {"epoch": 1, "fitness": 0.5, "curve": [0.5]})
    made.on_trial_complete("a", {"epoch": 3, "fitness": 0.75, "curve": [0.5, 0.75, 0.25]})
    made.on_trial_complete("b", {"epoch": 1, "fitness": 0.25, "curve": [0.25]})
    made.on_trial_complete("c", {"fitness": 0.0, "curve": [0.5], "message": "the loss is nan"})
    fourth = made.suggest("d")
    assert fourth["job"]["loss"]["box"] == 4.0, "it knows what is over"
    made.on_trial_complete("d", {"epoch": 1, "fitness": 0.5, "curve": [0.5]})
    assert made.suggest("e") == Searcher.FINISHED

    known = Trials(tmp_path).known
    assert [known[n].status for n in (1, 2, 3, 4)] == ["done", "stopped", "failed", "stopped"]
    assert [known[n].fitness for n in (1, 2, 3, 4)] == [0.75, 0.25, 0.0, 0.5]
    assert known[3].message == "the loss is nan"
    assert known[1].curve == (0.5, 0.75, 0.25)
    assert [one.status for one in followed] == ["open", "done", "stopped", "failed", "stopped"]
    assert third["job"]["momentum"] == 0.3


def test_a_lost_trial_is_no_result_and_ends_the_search(tmp_path: Path) -> None:
    made = proposals(Trials(tmp_path), 200, Followed())
    first, _ = made.suggest("a"), made.suggest("b")
    made.on_trial_complete("a", error=True)
    assert made.suggest("c") == Searcher.FINISHED
    made.on_trial_complete("b", {"epoch": 3, "fitness": 0.5, "curve": [0.5] * 3})
    assert [one.number for one in made.lost] == [1]
    again = proposals(Trials(tmp_path), 200, Followed())
    assert again.suggest("d") == first, "it stays open"


def test_where_all_trials_fail_at_once_the_search_ends(tmp_path: Path) -> None:
    made = proposals(Trials(tmp_path), 200, Followed())
    for name in "abc":
        made.suggest(name)
        made.on_trial_complete(name, {"fitness": 0.0, "curve": [], "message": "no picture"})
    assert made.suggest("d") == Searcher.FINISHED
    assert len(Trials(tmp_path).over()) == 3


def test_an_error_of_the_machine_is_no_result() -> None:
    settings = JOB.model_dump(mode="json")
    with pytest.raises(OSError, match="/proc"):
        train({"job": settings, "folder": "/proc/none", "here": str(Path.cwd())})


def test_an_open_trial_is_given_again_as_it_was(tmp_path: Path) -> None:
    before = proposals(Trials(tmp_path), 2, Followed())
    before.suggest("a")
    before.on_trial_complete("a", {"epoch": 3, "fitness": 0.5, "curve": [0.5] * 3})
    killed = before.suggest("b")
    after = proposals(Trials(tmp_path), 3, Followed())
    assert after.suggest("c") == killed
    after.on_trial_complete("c", None)  # it has not begun: it stays open
    assert Trials(tmp_path).pending(3) == [2, 3]


def decisions(scheduler: TrialScheduler, name: str, curve: Sequence[float]) -> list[str]:
    """Return what the scheduler says to every epoch of a trial."""
    nobody: Any = None
    trial: Any = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(nobody, trial)
    return [
        scheduler.on_trial_result(nobody, trial, {"epoch": epoch, "fitness": fitness})
        for epoch, fitness in enumerate(curve, 1)
    ]


@pytest.mark.parametrize("is_resumed", [False, True])
def test_asha_cuts_at_rungs_also_after_a_resume(is_resumed: bool) -> None:
    curves = [(0.5, 0.6, 0.7, 0.8), (0.2,), (0.9, 0.1, 0.9, 0.9)]
    over = [
        Trial(number=number, values={}, status="done", curve=curve, fitness=max(curve))
        for number, curve in enumerate(curves, 1)
    ]
    scheduler = asha(4, 1, 2.0, over if is_resumed else ())
    for number, curve in enumerate(() if is_resumed else curves, 1):
        best = [max(curve[: end + 1]) for end in range(len(curve))]
        decisions(scheduler, f"live {number}", best)
    go_on, stop = TrialScheduler.CONTINUE, TrialScheduler.STOP
    assert decisions(scheduler, "good", [0.95] * 4) == [go_on] * 4
    assert decisions(scheduler, "bad", [0.3]) == [stop]
    assert decisions(scheduler, "middling", [0.6, 0.7]) == [go_on, stop]
