"""A training with a label budget never reads the labels beyond it, and keeps their scans."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from medseg.data.settings import DataSettings, PlanSettings, SplitSettings
from medseg.data.source import open_cohort
from medseg.data.splits import make_split
from medseg.training.preparation import Prepared, prepare
from medseg.training.run_folder import RunFolder
from medseg.training.settings import FinetuningSettings

TINY = {"cases": 6, "shape": [20, 20, 16], "repeats": 0, "unlabelled": 0, "empty": 0, "missing": 0}
SUPERVISED = "medseg.objectives.supervised.Supervised"
BOTH = """
class Both:
    STREAMS = ("labelled", "unlabelled")

    def __init__(self, loss):
        self.loss = loss
"""


def prepared(tmp_path: Path, objective: str, name: str, **split: Any) -> Prepared:
    data = DataSettings(name="phantom", layout="phantom", phantom=TINY, cache=str(tmp_path / "cache"))
    recipe: Any = SimpleNamespace(
        data=data,
        split=SplitSettings(3, **split),
        plan=PlanSettings(spatial_dims=3, patch_size=[16, 16, 8], batch_size=1, width=4),
        network={"_target_": "medseg.networks.unet.UNet"},
        objective={"_target_": objective},
        finetuning=FinetuningSettings(),
        training=SimpleNamespace(verify=True),
        fold=0,
    )
    run = RunFolder(tmp_path / name)
    run.path.mkdir()
    return prepare(recipe, run, Console(quiet=True))


def test_labels_beyond_the_budget_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "budget_part.py").write_text(BOTH)
    monkeypatch.syspath_prepend(str(tmp_path / "parts"))
    monkeypatch.setenv("MEDSEG_ALLOW", "budget_part")
    whole = prepared(tmp_path, SUPERVISED, "whole")
    data = DataSettings(name="phantom", layout="phantom", phantom=TINY, cache=str(tmp_path / "cache"))
    cohort = open_cohort(data)
    split = make_split(cohort, SplitSettings(3, labelled=2))
    train = split.cases(cohort, 0, "train")
    beyond = [case.id for case in train if not case.labelled]
    assert len(whole.labelled) == len(train) == 4
    assert len(beyond) == 2
    for case_id in beyond:
        label = cohort.case(case_id).label
        assert label is not None
        label.write_bytes(b"whoever reads this fails")

    few = prepared(tmp_path, SUPERVISED, "few", labelled=2)
    assert set(few.labelled) == set(whole.labelled) - set(beyond)
    assert few.unlabelled == ()
    assert few.split.hash == split.hash != whole.split.hash

    both = prepared(tmp_path, "budget_part.Both", "both", labelled=2)
    assert both.labelled == few.labelled
    assert sorted(both.unlabelled) == sorted(beyond)
    assert [case.id for case in both.validation] == [case.id for case in whole.validation]
    assert all(both.store.case(case_id).label is None for case_id in beyond)
    assert all(both.store.case(case_id).label is not None for case_id in both.labelled)
    assert not any(both.cohort.case(case_id).labelled for case_id in beyond)
