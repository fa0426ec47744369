import dataclasses
from pathlib import Path

import pytest
import yaml

from medseg.inference.settings import InferenceSettings

CONF = Path(__file__).resolve().parents[3] / "conf" / "inference"


def test_the_defaults_have_no_problems():
    assert InferenceSettings().problems() == []
    assert InferenceSettings(flips=True, window_batch=8, device="cuda:1", precision="16").problems() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"overlap": 1.0}, "overlap"),
        ({"overlap": -0.1}, "overlap"),
        ({"flips": "yes"}, "flips"),
        ({"window_batch": 0}, "window_batch"),
        ({"window_batch": "many"}, "window_batch"),
        ({"window_batch": True}, "window_batch"),
        ({"precision": "fp8"}, "precision"),
        ({"device": "tpu"}, "device"),
        ({"device": "cuda:x"}, "device"),
    ],
)
def test_each_bad_value_is_named(changes, field):
    (line,) = InferenceSettings(**changes).problems()
    assert line.startswith(field + ": ")


def test_the_yaml_states_every_field_with_its_default():
    for path in CONF.glob("*.yaml"):
        values = yaml.safe_load(path.read_text())
        assert set(values) == {field.name for field in dataclasses.fields(InferenceSettings)}
    stated = yaml.safe_load((CONF / "default.yaml").read_text())
    assert InferenceSettings(**stated) == InferenceSettings()
