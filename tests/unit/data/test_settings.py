"""The settings' own checks, and the YAML that documents them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.data.settings import DataSettings, PlanSettings, SplitSettings

ROOT = Path(__file__).resolve().parents[3]


def test_the_yaml_states_every_default() -> None:
    stated = yaml.safe_load((ROOT / "conf" / "data" / "folder.yaml").read_text(encoding="utf-8"))
    assert stated == asdict(DataSettings())


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (DataSettings(name="a/b"), "name"),
        (DataSettings(layout="zip"), "layout"),
        (DataSettings(labels={"a": 1}, regions={"a": [1]}), "regions"),
        (DataSettings(modalities=["a", "a"]), "modalities"),
        (DataSettings(id_pattern="("), "id_pattern"),
        (DataSettings(patient_pattern="["), "patient_pattern"),
        (DataSettings(centre_pattern="*"), "centre_pattern"),
        (DataSettings(raters={"a": "*.png"}, reference="b"), "reference"),
        (SplitSettings(folds=1), "folds"),
        (SplitSettings(test_share=1.0), "test_share"),
        (SplitSettings(seed=-1), "seed"),
        (SplitSettings(labelled=0), "labelled"),
        (SplitSettings(labelled=1.0), "labelled"),
        (SplitSettings(labelled=-0.5), "labelled"),
        (PlanSettings(spatial_dims=4), "spatial_dims"),
        (PlanSettings(precision="64"), "precision"),
        (PlanSettings(memory_gb=0), "memory_gb"),
        (PlanSettings(spacing=[1, 1, 0]), "spacing"),
        (PlanSettings(patch_size=[64]), "patch_size"),
        (PlanSettings(batch_size=0), "batch_size"),
        (PlanSettings(multiple=9), "multiple"),
        (PlanSettings(multiple=0), "multiple"),
        (PlanSettings(slices=2), "slices"),
        (PlanSettings(spatial_dims=3, slices=3), "slices"),
    ],
)
def test_each_problem_names_its_field(settings: Any, field: str) -> None:
    (line,) = settings.problems()
    assert line.startswith(f"{field}: ")


def test_defaults_are_fine_and_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not DataSettings().problems()
    assert not SplitSettings().problems()
    assert not PlanSettings().problems()
    monkeypatch.setenv("MEDSEG_CACHE", "/somewhere")
    assert DataSettings().cache_folder == Path("/somewhere")
    assert DataSettings(cache="~/x").cache_folder == Path.home() / "x"
