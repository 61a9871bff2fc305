"""A folder of trials: what is open and over, what is kept, and what is refused."""

from pathlib import Path

import pytest
import yaml

from lakesight.errors import UserError
from lakesight.training.loop import STATE
from lakesight.training.search import with_values
from lakesight.training.trials import Trial, Trials, held, ranked
from lakesight.training.yolo.job import TrainJob

JOB = TrainJob(data="scenes/", epochs=3)
TUNING = {"search": "genetic", "settings": JOB.model_dump(mode="json")}


def done(number: int, fitness: float) -> Trial:
    values = {"momentum": 0.9}
    return Trial(number=number, values=values, status="done", fitness=fitness, curve=(fitness,))


def test_a_folder_tells_what_is_over(tmp_path: Path) -> None:
    failed = Trial(number=3, values={"momentum": 0.5}, status="failed", message="the loss is nan")
    with held(tmp_path / "out", TUNING) as trials:
        for one in (done(1, 0.25), Trial(number=2, values={"momentum": 0.8}), failed):
            trials.write(one)
    with held(tmp_path / "out", TUNING) as trials:
        assert trials.pending(5) == [2, 4, 5]
        assert trials.known[2].values == {"momentum": 0.8}
        assert trials.over() == [done(1, 0.25), failed]
        assert trials.best() == done(1, 0.25)
        trials.write(done(2, 0.25))
        assert trials.best() == done(1, 0.25), "of equals the earlier"
        assert [one.number for one in ranked(trials.over())] == [1, 2, 3]


def test_failed_trials_are_never_the_best(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    trials.write(Trial(number=1, values={}, status="failed"))
    assert trials.best() is None
    trials.write(done(2, 0.0))
    assert trials.best() == done(2, 0.0)


def test_only_the_best_weights_are_kept(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    left = []
    for number, fitness in enumerate((0.2, 0.5, 0.4), 1):
        state = trials.place(number) / STATE
        state.mkdir(parents=True)
        for name in ("last.pt", "best.pt", "results.csv"):
            (state / name).write_bytes(b"x")
        trials.write(Trial(number=number, values={}))
        assert (state / "last.pt").exists(), "an open trial goes on from it"
        trials.write(done(number, fitness))
        left.append({f"{one.parts[-3]} {one.name}" for one in tmp_path.rglob("*.pt")})
    assert left == [{"0001 best.pt"}, {"0002 best.pt"}, {"0002 best.pt"}]
    assert len(list(tmp_path.rglob("results.csv"))) == 3


def test_another_tuning_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with held(folder, {"search": "asha"}):
        pass
    with held(folder, TUNING) as trials:  # of the other there is no trial yet
        trials.write(done(1, 0.5))
    assert yaml.safe_load((folder / "tuning.yaml").read_text()) == TUNING
    other = with_values(JOB, {"loss.box": 2.0}).model_dump(mode="json")
    with (
        pytest.raises(UserError, match=r"\(settings.loss.box: 7.5, now 2.0\): take them, or name"),
        held(folder, {**TUNING, "settings": other}),
    ):
        pass
    with (
        pytest.raises(UserError, match="reduction: None, now 3"),
        held(folder, {**TUNING, "reduction": 3}),
    ):
        pass


def test_a_setting_that_is_newer_than_a_tuning_has_its_default(tmp_path: Path) -> None:
    with held(tmp_path / "out", TUNING) as trials:
        trials.write(done(1, 0.5))
    path = tmp_path / "out" / "tuning.yaml"
    older = yaml.safe_load(path.read_text())
    del older["settings"]["ema_decay"]
    path.write_text(yaml.safe_dump(older))
    with held(tmp_path / "out", TUNING) as trials:
        assert trials.over() == [done(1, 0.5)]
    newer = JOB.model_copy(update={"ema_decay": 0.5}).model_dump(mode="json")
    with (
        pytest.raises(UserError, match=r"ema_decay: 0\.9999, now 0\.5"),
        held(tmp_path / "out", {**TUNING, "settings": newer}),
    ):
        pass


def test_a_file_that_was_cut_or_edited_is_said(tmp_path: Path) -> None:
    with held(tmp_path / "out", TUNING) as trials:
        trials.write(done(1, 0.5))
    path, tuning = tmp_path / "out" / "trials" / "0001.json", tmp_path / "out" / "tuning.yaml"
    whole = path.read_text()
    for text, message in (
        (whole[:30], "is no trial: the file: Invalid JSON"),
        (whole.replace('"done"', '"good"'), "is no trial: status: "),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message), held(tmp_path / "out", TUNING):
            pass
    for text, message in (("search: asha", "it lacks `settings`"), ("a: [", "cannot read")):
        tuning.write_text(text)
        with pytest.raises(UserError, match=message), held(tmp_path / "out", TUNING):
            pass


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"), held(tmp_path, TUNING):
        pass
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UserError, match="got the file"), held(tmp_path / "mine.txt", TUNING):
        pass


def test_a_folder_is_held_by_one_run(tmp_path: Path) -> None:
    with (
        held(tmp_path / "out", TUNING),
        pytest.raises(UserError, match="another run tunes in"),
        held(tmp_path / "out", TUNING),
    ):
        pass
