"""From images without labels to an encoder, and from that to a model, through the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medseg.cli import main
from medseg.inference.bundle import Bundle
from medseg.tracking.local import read_metrics
from medseg.training.waiting import NAME as DATA_WAIT

Weights = dict[str, torch.Tensor]


def weights(run: Path) -> Weights:
    return load_file(run / "model" / "weights.safetensors")


def same(left: Weights, right: Weights) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def of_encoder(run: Path) -> Weights:
    """The encoder in a model that segments, called as in an encoder bundle."""
    return {
        name.replace("network.encoder.", "encoders.0."): value
        for name, value in weights(run).items()
        if name.startswith("network.encoder.")
    }


def numbers(run: Path) -> list[tuple[int, str, float | None]]:
    rows = read_metrics(run / "metrics.csv")
    return [(row["step"], row["name"], None if row["name"] == DATA_WAIT else row["value"]) for row in rows]


TRANSFORMER = ["network=unetr", "network.hidden_size=24", "network.blocks=2"]
NETWORKS = {"masked_autoencoder": TRANSFORMER}


@pytest.mark.parametrize("objective", ["simclr", "masked_image_modelling", "masked_autoencoder"])
def test_an_encoder_is_pretrained_and_fine_tuned(
    objective: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*words, *NETWORKS.get(objective, [])]
    runs = tmp_path / "runs" / "balls"
    assert main([*words, f"objective={objective}", "id=pre"]) == 0
    pre = runs / "pre"
    assert f"finetuning.pretrained={pre}" in capsys.readouterr().out
    for name in ("report.html", "metrics.csv", "reproduce.sh", "model/encoder.json", "model/plan.yaml"):
        assert (pre / name).stat().st_size > 0, name
    assert not (pre / "cases.csv").exists()
    record = json.loads((pre / "record.json").read_text())
    assert record["status"] == "finished"
    assert (record["cases"]["train"], record["cases"]["unlabelled"]) == (0, 9)
    names = {name for _, name, _ in numbers(pre)}
    assert {"train/loss", "validation/loss", "probe/knn_dice", "probe/linear_dice"} <= names
    assert "validation/dice" not in names

    given = f"finetuning.pretrained={pre}"
    assert main([*words, "finetuning=frozen", given, "id=frozen"]) == 0
    assert same(of_encoder(runs / "frozen"), weights(pre)), "a frozen encoder is what was pretrained"
    for choice in ("none", "discriminative"):
        assert main([*words, f"finetuning={choice}", given, f"id={choice}", "training.steps=2"]) == 0
        tuned = of_encoder(runs / choice)
        assert tuned.keys() == weights(pre).keys()
        assert not same(tuned, weights(pre))
    found = json.loads((runs / "frozen" / "record.json").read_text())["pretrained"]
    assert found[0]["hash"] == json.loads((pre / "model" / "encoder.json").read_text())["hash"]


def test_mid_fusion_is_pretrained_on_cases_that_lack_modalities(tmp_path: Path, cache: Path) -> None:
    words = [
        "train", "data=phantom", f"data.cache={cache}",
        "data.phantom.cases=9", "data.phantom.shape=[24,24,16]",
        "data.phantom.repeats=0", "data.phantom.unlabelled=1", "data.phantom.empty=0",
        "data.phantom.missing=2",
        f"runs={tmp_path}", "name=phantom", "tracking=local", "training.minutes=null", "training.steps=2",
        "training.epoch_steps=1", "training.validation_patches=2", "training.volume_validations=1",
        "training.volume_cases=1", "plan.patch_size=[16,16,8]", "plan.batch_size=2", "plan.width=4",
        "inference.flips=false", "fusion=mid", "fusion.merge=gated", "split.folds=2",
    ]  # fmt: skip
    assert main([*words, "objective=simclr", "objective.local_weight=0.5", "id=pre"]) == 0
    plan = f"plan.file={tmp_path / 'phantom' / 'pre' / 'model' / 'plan.yaml'}"
    kept = [word for word in words if not word.startswith("plan.")]
    assert main([*kept, plan, f"finetuning.pretrained={tmp_path / 'phantom' / 'pre'}", "id=fine"]) == 0


def test_labels_are_not_read(words: list[str], balls: Path, tmp_path: Path) -> None:
    """Labels that say something else, on the same grid, change nothing but the probes."""
    import nibabel as nib
    import numpy as np

    moved = tmp_path / "cohort"
    shutil.copytree(balls, moved)
    for file in (moved / "labelsTr").glob("*.nii.gz"):
        image = nib.load(file)
        nib.save(nib.Nifti1Image(np.full(image.shape, 2, np.uint8), image.affine), file)
    again = [word for word in words if not word.startswith("data.root=")]
    assert main([*words, "objective=simclr", "id=first"]) == 0
    assert main([*again, f"data.root={moved}", "objective=simclr", "id=second"]) == 0
    first, second = (tmp_path / "runs" / "balls" / name for name in ("first", "second"))
    assert same(weights(first), weights(second))
    probes = {name for _, name, _ in numbers(first) if name.startswith("probe/")}
    assert probes == {"probe/knn_dice", "probe/linear_dice"}, "they alone look at labels"
    kept = [[row for row in numbers(run) if row[1] not in probes] for run in (first, second)]
    assert kept[0] == kept[1]


def test_a_cohort_without_any_label_will_do(
    words: list[str], balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(balls, bare)
    for file in (bare / "labelsTr").glob("*.nii.gz"):
        file.unlink()
    again = [word for word in words if not word.startswith("data.root=")]
    again = [*again, f"data.root={bare}"]
    assert main([*again, "objective=masked_image_modelling", "id=pre"]) == 0
    run = tmp_path / "runs" / "balls" / "pre"
    assert json.loads((run / "record.json").read_text())["cases"]["unlabelled"] == 12
    names = {name for _, name, _ in numbers(run)}
    assert "train/loss" in names
    assert not any(name.startswith(("validation/", "probe/")) for name in names)
    capsys.readouterr()
    assert main([*again, "id=supervised"]) == 2
    assert "has no labelled train case; add labels" in capsys.readouterr().err


@pytest.mark.parametrize("objective", ["simclr", "masked_autoencoder"])
def test_killed_and_resumed_it_is_bit_identical(objective: str, words: list[str], tmp_path: Path) -> None:
    words = [*words, f"objective={objective}", *NETWORKS.get(objective, [])]
    words = [*words, "training.steps=40", "training.epoch_steps=2", "training.threads=1"]
    assert main([*words, "id=whole"]) == 0
    whole, killed = (tmp_path / "runs" / "balls" / name for name in ("whole", "killed"))
    process = subprocess.Popen(
        [sys.executable, "-m", "medseg.cli", *words, "id=killed"],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 300
    while len(list((killed / "checkpoints").glob("*.ckpt"))) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model").exists()
    assert main([*words, "id=killed"]) == 0
    assert same(weights(whole), weights(killed))
    assert numbers(whole) == numbers(killed)


def test_a_fine_tuning_goes_on_without_its_encoder(words: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "balls"
    assert main([*words, "objective=simclr", "training.steps=2", "id=pre"]) == 0
    shutil.copytree(runs / "pre" / "model", tmp_path / "encoder")
    words = [*words, f"finetuning.pretrained={tmp_path / 'encoder'}", "id=fine"]
    assert main(words) == 0
    expected, fine = weights(runs / "fine"), runs / "fine"
    max((fine / "checkpoints").glob("*.ckpt")).unlink()
    shutil.rmtree(fine / "model")
    shutil.rmtree(tmp_path / "encoder")
    record = json.loads((fine / "record.json").read_text())
    (fine / "record.json").write_text(json.dumps(record | {"status": "training"}))
    assert main(words) == 0
    assert same(weights(fine), expected)


def test_a_model_has_seen_whom_its_encoder_has(words: list[str], tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "balls"
    assert main([*words, "objective=simclr", "training.steps=2", "id=pre"]) == 0
    given = f"finetuning.pretrained={runs / 'pre'}"
    assert main([*words, given, "split.labelled=2", "training.steps=2", "id=few"]) == 0
    patients = json.loads((runs / "few" / "split.json").read_text())["patients"]
    bundle = Bundle.load(runs / "few" / "model")
    assert {name for name in patients if bundle.saw(name)} == {n for n, part in patients.items() if part != 0}


def test_what_does_not_go_together_is_told_in_one_line(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs" / "balls"
    assert main([*words, "objective=simclr", "training.steps=2", "id=pre"]) == 0
    given = f"finetuning.pretrained={runs / 'pre'}"
    for more, line in (
        ("plan.width=8", f"take its plan with plan.file={runs / 'pre' / 'model' / 'plan.yaml'}"),
        ("fold=1", "has seen 3 of the patients that this run validates or tests on"),
        ("network.convs_per_level=3", "missing encoders.0.stages.0.6.weight"),
    ):
        capsys.readouterr()
        assert main([*words, given, more, f"id=no-{more[:4]}"]) == 2
        told = capsys.readouterr().err.strip()
        assert len(told.splitlines()) == 1
        assert told.startswith("finetuning.pretrained: ")
        assert line in told
    capsys.readouterr()
    assert main(["evaluate", f"run={runs / 'pre'}"]) == 2
    assert "is a pretrained encoder, which cannot segment" in capsys.readouterr().err
