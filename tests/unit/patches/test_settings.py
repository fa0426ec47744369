"""The settings' own checks, and that every YAML file fits them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from medseg.patches.settings import AugmentationSettings

CONF = Path(__file__).resolve().parents[3] / "conf"


def test_defaults_are_sound() -> None:
    assert AugmentationSettings().problems() == []
    assert AugmentationSettings.off().problems() == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"rotation_probability": 1.5}, "rotation_probability"),
        ({"rotation_degrees": (10.0, 200.0, 10.0)}, "rotation_degrees"),
        ({"rotation_degrees": (10.0, 10.0)}, "rotation_degrees"),
        ({"scaling_range": (1.4, 0.7)}, "scaling_range"),
        ({"scaling_range": (0.0, 1.0)}, "scaling_range"),
        ({"elastic_displacement": (0.0, 0.8)}, "elastic_displacement"),
        ({"flip_axes": (0, 3)}, "flip_axes"),
        ({"flip_axes": (1, 1)}, "flip_axes"),
        ({"low_resolution_range": (0.5, 2.0)}, "low_resolution_range"),
        ({"gamma_range": (float("nan"), 1.0)}, "gamma_range"),
        ({"noise_std": (-0.1, 0.1)}, "noise_std"),
        ({"synthesis_clusters": (0, 3)}, "synthesis_clusters"),
        ({"synthesis_std": (0.2, 0.1)}, "synthesis_std"),
        ({"synthesis_blur": (0.0, 1.0)}, "synthesis_blur"),
        ({"remap_points": 1}, "remap_points"),
    ],
)
def test_each_problem_names_its_field(wrong: dict[str, Any], field: str) -> None:
    problems = AugmentationSettings(**wrong).problems()
    assert len(problems) == 1
    assert problems[0].startswith(f"{field}: ")
    assert ";" in problems[0]


@pytest.mark.parametrize("path", sorted((CONF / "augmentation").glob("*.yaml")), ids=lambda p: p.stem)
def test_yaml_states_every_field(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    assert list(values) == [field.name for field in fields(AugmentationSettings)]
    made = AugmentationSettings(**values)
    assert made.problems() == []
    if path.stem == "default":
        assert made == AugmentationSettings()
    if path.stem == "none":
        assert made == AugmentationSettings.off()
