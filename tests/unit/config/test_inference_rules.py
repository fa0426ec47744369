"""What is asked of a prediction and cannot be done is told when the configuration is checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medseg.config.check import bind
from medseg.config.compose import compose
from medseg.config.folders import options
from medseg.config.freeze import frozen
from medseg.config.verbs.recorded import recorded
from medseg.data.settings import DataSettings

PREDICT = ["model=m", "input=i", "output=o"]


def told(verb: str, *words: str) -> list[str]:
    return list(compose(verb, list(words)).problems)


@pytest.mark.parametrize("name", options("postprocess"))
@pytest.mark.parametrize("verb", ["predict", "evaluate"])
def test_every_step_is_a_choice_of_the_verbs_that_predict(verb: str, name: str) -> None:
    words = PREDICT if verb == "predict" else ["run=r"]
    composed = compose(verb, [*words, f"postprocess={name}"])
    assert composed.problems == ()
    assert str(bind(verb, composed.config)["postprocess"]["_target_"]).startswith("medseg.postprocess.")
    assert "postprocess" not in bind(verb, compose(verb, words).config), "the model itself says what is done"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["postprocess=largest_componen"], "did you mean largest_component"),
        (["postprocess=minimum_size", "postprocess.mm=3"], "postprocess: MinimumSize has no option 'mm'"),
        (
            ["postprocess=threshold", "postprocess.threshold=half"],
            "postprocess.threshold: 'half' is not a number",
        ),
        (
            ["postprocess=none", "postprocess.steps=[{_target_: os.system}]"],
            "not on the list of allowed targets",
        ),
        (["inference.mc_dropout=1"], "inference.mc_dropout: 1 passes say nothing of a spread"),
        (["inference.uncertainty=3"], "inference.uncertainty: 3 is not true or false"),
    ],
)
def test_a_prediction_that_cannot_be_made_is_refused(words: list[str], line: str) -> None:
    found = told("predict", *PREDICT, *words)
    assert len(found) == 1, found
    assert line in found[0]


def test_only_what_a_run_predicts_is_finished() -> None:
    (line,) = told("evaluate", "predictions=p", "data=folder", "data.root=r", "postprocess=none")
    assert line.startswith("postprocess: finishes the predictions of a run")
    (line,) = told("evaluate", "run=r", "missing=all", "postprocess=none")
    assert line.startswith("postprocess: is not changed while modalities are left out")


def test_passes_with_dropout_need_a_network_that_is_trained_with_it() -> None:
    (line,) = told("train", "inference.mc_dropout=10")
    assert line.startswith("inference.mc_dropout: UNet is trained without dropout; use network.dropout=0.2")
    (line,) = told("train", "inference.mc_dropout=10", "network=mednext")
    assert "MedNeXt has no dropout" in line
    assert "unet" in line
    assert told("train", "inference.mc_dropout=10", "network.dropout=0.1") == []
    assert told("train", "inference.mc_dropout=0") == []


def test_what_a_run_was_made_with_keeps_the_order_of_its_labels(tmp_path: Path) -> None:
    """A frozen configuration is sorted; the model knows which class is which code."""
    labels = {"ventricle": 1, "atrium": 2}
    config = frozen({"data": {"name": "heart", "root": "somewhere", "labels": labels}})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert list(recorded(tmp_path, "data", None).labels) == ["atrium", "ventricle"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text('{"labels": {"names": ["ventricle", "atrium"]}}')
    found = recorded(tmp_path, "data", DataSettings(root="elsewhere"))
    assert list(found.labels.items()) == list(labels.items())
    assert found.root == "elsewhere"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "run: give either a run or a study"),
        (["run=a", "study=b"], "run: give either a run or a study"),
        (["run=a", "steps=[tresholds]"], "steps: 'tresholds' cannot be tuned; use some of threshold"),
        (["run=a", "steps=[]", "temperature=false"], "steps: there is nothing to choose"),
        (["run=a", "noise=-1"], "noise: -1 is negative"),
        (["run=a", "least=-0.1"], "least: -0.1 is negative"),
    ],
)
def test_what_cannot_be_tuned(words: list[str], line: str) -> None:
    (found,) = told("tune", *words)
    assert found.startswith(line)


def test_what_can_be_tuned() -> None:
    from medseg.config.roots import TUNABLE
    from medseg.training.tuning_settings import STEPS

    composed = compose("tune", ["run=a"])
    assert composed.problems == ()
    assert tuple(composed.config["steps"]) == STEPS
    assert {*STEPS} < {*TUNABLE} <= {*options("postprocess")}
