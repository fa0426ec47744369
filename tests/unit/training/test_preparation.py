"""A plan of a file meets a network that halves the image more often than the plan's levels do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medseg.data.plan import Plan
from medseg.data.settings import DataSettings, PlanSettings
from medseg.data.source import open_cohort
from medseg.errors import UserError
from medseg.inference.windows import stretched
from medseg.training.preparation import _plan
from medseg.training.run_folder import RunFolder

SMP = {"_target_": "medseg.networks.smp_unet.SMPUNet"}
UNET = {"_target_": "medseg.networks.unet.UNet"}
TINY = {"cases": 2, "shape": [24, 24, 16], "repeats": 0, "unlabelled": 0, "empty": 0, "missing": 0}


def planned(tmp_path: Path, network: dict[str, Any], **changes: Any) -> Plan:
    """The plan that a run keeps which was given the file of another one."""
    data = DataSettings(name="phantom", layout="phantom", phantom=TINY, cache=str(tmp_path / "cache"))
    cohort = open_cohort(data)
    flat = Plan(
        2, cohort.modalities, (0, 1, 2), (1.0, 1.0, 1.0), (96, 96), 2, ((1, 1), (2, 2)), ((3, 3), (3, 3)),
        (4, 8), {name: {"method": "none"} for name in cohort.modalities}, False, "32-true",
    )  # fmt: skip
    replace(flat, **changes).save(tmp_path / "given.yaml")
    recipe: Any = SimpleNamespace(plan=PlanSettings(file=str(tmp_path / "given.yaml")), network=network)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    made = _plan(recipe, run, cohort, cohort.cases)
    assert Plan.load(run.plan) == made, "what is kept is what is used"
    return made


@pytest.mark.parametrize(("network", "multiple"), [(SMP, 32), (UNET, 1)])
def test_the_network_decides_the_multiple_of_a_plan_file(
    tmp_path: Path, network: dict[str, Any], multiple: int
) -> None:
    plan = planned(tmp_path, network)
    assert plan.multiple == multiple
    window = [stretched(100, *axis) for axis in zip(plan.patch_size, plan.topology.divisor, strict=True)]
    assert all(n % multiple == 0 for n in window), "a window of a case 100 voxels wide"


def test_its_own_multiple_is_kept(tmp_path: Path) -> None:
    assert planned(tmp_path, SMP, multiple=3).multiple == 96


def test_a_patch_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan\.patch_size.*multiples of 32"):
        planned(tmp_path, SMP, patch_size=(80, 96))
