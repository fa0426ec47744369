"""The words of a search, and that a search is checked before its first trial."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from medseg.cli import main
from medseg.config.search_space import read_space
from medseg.errors import UserError


def test_every_kind_of_range() -> None:
    space = read_space(
        [
            "++optimizer.lr=tag(log,interval(1e-4,1e-1))", "network=choice(unet,vnet)", "++seed=range(1,7,2)",
            "++plan.width=int(interval(8,16))", "++fold=0,1", "loss=dice", "++clip=interval(0.5,2)",
        ]
    )  # fmt: skip
    assert space.fixed == ("loss=dice",)
    assert space.keys == {
        "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
        "network": CategoricalDistribution(("unet", "vnet")),
        "seed": IntDistribution(1, 5, step=2),
        "plan.width": IntDistribution(8, 16),
        "fold": CategoricalDistribution(("0", "1")),
        "clip": FloatDistribution(0.5, 2.0),
    }
    corners = space.corners()
    assert corners[0] == [
        "loss=dice", "optimizer.lr=0.0001", "network=unet", "seed=1", "plan.width=8", "fold=0", "clip=0.5"
    ]  # fmt: skip
    assert len(corners) == 7
    assert {word for corner in corners for word in corner} >= {"network=vnet", "plan.width=16", "fold=1"}


@pytest.mark.parametrize("words", [["seed=1"], ["++lr=interval(2,1)"], ["++lr=tag(log,interval(0,1))"]])
def test_nothing_to_choose_from(words: list[str]) -> None:
    with pytest.raises(UserError):
        read_space(words)


def test_the_ends_of_the_space_are_checked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    search = ["train", "-m", "hydra/sweeper=optuna", "preflight=check"]
    assert main([*search, "optimizer.lr=interval(-0.1,0.1)", "network=choice(unet,vent)", "yes=true"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["network"]
    assert main([*search, "optimizer.lr=interval(-0.1,0.1)", "fold=choice(0,8)", "yes=true"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["fold", "optimizer.lr"]
    assert main([*search, "optimizer.lr=interval(0.01,0.1)"]) == 2
    assert "20 jobs are planned and nobody is there to be asked" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
