"""Sweeps: every job is checked before the first one starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medseg.cli import main
from medseg.config.preflight import check_jobs, expand
from medseg.errors import Problems


def test_expansion_is_the_product() -> None:
    jobs = expand(["seed=0,1", "network=unet", "optimizer=adam,sgd"])
    assert jobs == [
        ["seed=0", "network=unet", "optimizer=adam"],
        ["seed=0", "network=unet", "optimizer=sgd"],
        ["seed=1", "network=unet", "optimizer=adam"],
        ["seed=1", "network=unet", "optimizer=sgd"],
    ]


def test_ranges_and_globs_are_understood() -> None:
    assert len(expand(["seed=range(0,3)"])) == 3
    assert len(expand(["optimizer=glob(a*)"])) == 2


def test_a_broken_job_is_named_and_shared_problems_are_told_once() -> None:
    with pytest.raises(Problems) as caught:
        check_jobs("train", ["optimizer.lr=0.1,hello", "fold=0,9", "network.nrm=1"])
    assert str(caught.value).splitlines() == sorted(
        [
            "fold: 9 does not exist in a split of 5 folds; use 0 to 4 (in optimizer.lr=0.1 fold=9; "
            "optimizer.lr=hello fold=9)",
            "network: UNet has no option 'nrm'; did you mean 'norm'?",
            "optimizer.lr: 'hello' is not a number (in optimizer.lr=hello fold=0; optimizer.lr=hello fold=9)",
        ]
    )


def test_an_unknown_choice_in_a_sweep_is_refused() -> None:
    """And the problems of the other jobs are told with it."""
    with pytest.raises(Problems) as caught:
        check_jobs("train", ["network=unet,vnet2", "fold=0,7"])
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["fold", "network"]


SMALL = [
    "data=phantom", "data.phantom.cases=4", "data.phantom.repeats=0", "data.phantom.unlabelled=0",
    "data.phantom.empty=0", "data.phantom.missing=0", "data.phantom.shape=[24,24,16]", "split.folds=2",
]  # fmt: skip


def test_a_sweep_runs_every_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, with the cheapest verb that writes something."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    outputs = f"output={tmp_path}/a.yaml,{tmp_path}/b.yaml"
    assert main(["plan", "-m", outputs, "plan.width=6", *SMALL]) == 0
    for name in ("a", "b"):
        assert yaml.safe_load((tmp_path / f"{name}.yaml").read_text())["widths"][0] == 6
    assert {p.name for p in tmp_path.iterdir()} == {"a.yaml", "b.yaml", "cache"}


def test_a_job_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    assert main(["plan", "-m", "data.root=nowhere,null", "output=a.yaml", *SMALL]) == 2
    assert "job data.root=nowhere: " in capsys.readouterr().err
    assert (tmp_path / "a.yaml").exists()
