"""The words about a sweep itself: launchers, searches, yes, preflight."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.config.launchers.settings import JoblibLauncher, LocalLauncher, SlurmLauncher
from medseg.config.multirun import choices
from medseg.config.search_settings import SearchSettings
from medseg.config.sweep_words import read_words
from medseg.errors import Problems, UserError


def chosen(*words: str, dirs: tuple[Path, ...] = ()) -> tuple[object, object]:
    return choices("train", read_words(words), dirs)


def test_words_are_told_apart() -> None:
    words = read_words(["seed=0,1", "yes=true", "preflight=check", "hydra/launcher=slurm", "resume=runs/a"])
    assert words.jobs == ("seed=0,1",)
    assert words.hydra == ("hydra/launcher=slurm",)
    assert (words.yes, words.preflight, words.resume) == (True, "check", "runs/a")


def test_wrong_words_are_told_together() -> None:
    with pytest.raises(Problems) as caught:
        read_words(["yes=please", "preflight=none"])
    assert [line.partition(":")[0] for line in caught.value.lines] == ["yes", "preflight"]


def test_launchers_and_searches_are_chosen_as_in_hydra() -> None:
    assert chosen("seed=0,1") == (LocalLauncher(), None)
    assert chosen("hydra/launcher=local")[0] == LocalLauncher()
    assert chosen("hydra/launcher=joblib", "hydra.launcher.workers=3")[0] == JoblibLauncher(workers=3)
    slurm = chosen("hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.hours=2")[0]
    assert slurm == SlurmLauncher(partition="gpu", hours=2.0)
    search = chosen("hydra/sweeper=optuna", "hydra.sweeper.trials=5", "seed=choice(0,1)")[1]
    assert search == SearchSettings(trials=5)


def test_the_files_say_every_field_with_its_default() -> None:
    for name, settings in (
        ("local", LocalLauncher()),
        ("joblib", JoblibLauncher()),
        ("slurm", SlurmLauncher()),
    ):
        assert chosen(f"hydra/launcher={name}")[0] == settings


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hydra/launcher=slurm", "hydra.launcher.partitoin=gpu"], "did you mean partition?"),
        (
            ["hydra/launcher=slurm", "hydra.launcher.hours=soon"],
            "hydra.launcher.hours: 'soon' is not a number",
        ),
        (["hydra/launcher=slurm", "hydra.launcher.comment='a\nrm -rf x'"], "holds a line break"),
        (["hydra/launcher=slurm", "hydra.launcher.account='a\x0bb'"], "holds a line break"),
        (["hydra/launcher=slurm", "hydra.launcher.hours=0.01"], "signal_seconds: 120 s are not before"),
        (["hydra/launcher=joblib", "hydra.launcher.workers=0"], "workers: 0 is less than 1"),
        (["hydra/launcher=slrum"], "hydra/launcher"),
        (["hydra/sweeper=optuna", "hydra.sweeper.sampler=cmaes"], "sampler: 'cmaes' is unknown"),
        (["hydra/launcher=slurm", "hydra.launcher.gpus=-1"], "gpus: -1 is negative"),
        (["hydra.sweep.dir=x"], "hydra.sweep.dir: may not be set"),
        (["hydra.run.dir=x"], "hydra.run.dir: may not be set"),
        (["hydra.launcher._target_=os.system"], "is not on the list of allowed targets"),
        (["hydra/sweeper=optuna", "hydra.sweeper.kind=other"], "none of medseg's"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(words: list[str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen(*words)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_cluster_may_have_a_file_of_its_own_and_an_experiment_may_choose_it(tmp_path: Path) -> None:
    launcher = tmp_path / "hydra" / "launcher"
    launcher.mkdir(parents=True)
    (launcher / "ours.yaml").write_text("defaults: [slurm]\npartition: long\ngpus: 2\n")
    own = SlurmLauncher(partition="long", gpus=2)
    assert chosen("hydra/launcher=ours", dirs=(tmp_path,))[0] == own
    experiment = tmp_path / "experiment"
    experiment.mkdir()
    (experiment / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/launcher: ours\n"
    )
    assert chosen("experiment=mine", "seed=0,1", dirs=(tmp_path,))[0] == own
