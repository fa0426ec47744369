"""Pretraining, and starting from it, is refused before anything is read where it cannot work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medseg.config.compose import compose
from medseg.data.plan import Plan
from medseg.inference.assemble import assemble_encoding
from medseg.inference.encoder_bundle import save_encoder

SELF = ("simclr", "masked_image_modelling")


def told(*words: str) -> list[str]:
    return list(compose("train", list(words)).problems)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    from medseg.contracts import Labels

    config = compose("train", ["objective=simclr"]).config
    plan = Plan(
        spatial_dims=2, modalities=("t1",), axes=(0, 1, 2), spacing=(1.0, 1.0, 1.0), patch_size=(8, 8),
        batch_size=2, strides=((1, 1), (2, 2)), kernels=((3, 3), (3, 3)), widths=(4, 6),
        normalisation={"t1": {"method": "none"}}, in_plane_only=False, precision="32-true",
    )  # fmt: skip
    labels = Labels(("a",), ((1,),))
    specs = {slot: config[slot] for slot in ("network", "fusion", "objective")}
    encoding = assemble_encoding(config["network"], config["fusion"], plan, labels)
    return save_encoder(tmp_path / "encoder", encoding, specs, plan, {}, ())


@pytest.mark.parametrize("objective", SELF)
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fusion=late"], "objective: .* LateFusion has none of all modalities; use fusion=early or mid"),
        (["fusion=agnostic"], "objective: .* AgnosticFusion has none .*; use fusion=early or mid"),
        (["network=dynunet"], "objective: .* DynUNet cannot be split; use one of network=.*unet"),
        (["training.patience=3"], "training.patience: .* use training.patience=null"),
    ],
)
def test_what_has_no_encoder_to_pretrain_is_refused(objective: str, words: list[str], line: str) -> None:
    found = told(f"objective={objective}", *words)
    assert len(found) == 1
    assert re.match(line, found[0]), found


@pytest.mark.parametrize("objective", SELF)
@pytest.mark.parametrize("fusion", ["early", "mid"])
def test_it_needs_no_unlabelled_cases(objective: str, fusion: str) -> None:
    assert told(f"objective={objective}", f"fusion={fusion}", "data.unlabelled_ok=false") == []


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["network=unetr"], []),
        (["network=unetr", "plan.spatial_dims=2"], []),
        (["network=swin_unetr"], ["SwinUNETR has no such tokens; use network=unetr, or objective=masked_"]),
        (["network=dynunet"], ["DynUNet has no such tokens; use network=unetr, or"]),
        (
            ["network=unetr", "fusion=mid"],
            ["MidFusion has no encoder that sees them together; use fusion=early"],
        ),
        (["network=unetr", "fusion=late"], ["LateFusion has no encoder .*; use fusion=early"]),
        (["fusion=mid"], ["MidFusion has no encoder", "UNet has no such tokens; use network=unetr"]),
    ],
)
def test_tokens_are_left_out_of_one_transformer_alone(words: list[str], lines: list[str]) -> None:
    found = told("objective=masked_autoencoder", *words)
    assert len(found) == len(lines)
    for line, told_of in zip(lines, found, strict=True):
        assert re.match(f"objective: MaskedAutoencoder leaves .*{line}", told_of), found


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["network=dynunet"], "DynUNet cannot be split; use objective.feature_dropout=0, or one of network="),
        (
            ["fusion=late"],
            "LateFusion has no encoder .*; use objective.feature_dropout=0, or fusion=early or mid",
        ),
        (["fusion=agnostic"], "AgnosticFusion has no encoder .*; use objective.feature_dropout=0, or"),
    ],
)
def test_features_are_dropped_between_two_halves_alone(words: list[str], line: str) -> None:
    found = told("objective=unimatch", *words)
    assert len(found) == 1
    assert re.match(f"objective: StrongWeak drops features .*{line}", found[0]), found
    assert told("objective=unimatch", *words, "objective.feature_dropout=0") == []
    assert told("objective=fixmatch", *words) == []
    assert told("objective=unimatch") == told("objective=unimatch", "fusion=mid") == []


def test_a_batch_of_one_patch_is_refused_by_the_contrast_alone() -> None:
    assert told("objective=masked_image_modelling", "plan.batch_size=1") == []
    line = "plan.batch_size: SimCLR compares the patches of a batch and there is 1; use 2 or more"
    assert told("objective=simclr", "plan.batch_size=1") == [line]
    assert told("objective=simclr", "plan.batch_size=1", "training.unlabelled_batch_size=8") == []
    found = told("objective=simclr", "training.unlabelled_batch_size=1")
    assert found == [line.replace("plan.batch_size", "training.unlabelled_batch_size")]


def test_the_option_is_found_where_one_looks_for_it() -> None:
    assert told("network.pretrained=x") == [
        "network.pretrained: is not here; write finetuning.pretrained=..."
    ]


def test_an_encoder_is_looked_at(encoder: Path, tmp_path: Path) -> None:
    given = f"finetuning.pretrained={encoder}"
    assert told(given) == []
    assert told(given, "finetuning=frozen") == []
    assert told(given, "objective=simclr") == [], "a pretraining may go on from another"
    for words, line in (
        ([f"finetuning.pretrained={tmp_path / 'none'}"], ".*none does not exist; give the run"),
        ([given, "network=vnet"], ".* the encoder of UNet and the network is VNet; choose the same"),
        ([given, "fusion=late"], ".* LateFusion has none .*use fusion=early or mid"),
        ([given, "network=dynunet"], ".* DynUNet cannot be split; use one of"),
    ):
        found = told(*words)
        assert len(found) == 1
        assert re.match(f"finetuning.pretrained: {line}", found[0]), found


def test_a_run_that_has_begun_does_without_its_encoder(tmp_path: Path) -> None:
    words = [f"finetuning.pretrained={tmp_path / 'gone'}", f"runs={tmp_path}", "name=study", "id=mine"]
    assert len(told(*words)) == 1
    folder = tmp_path / "study" / "mine" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "00000001-0.ckpt").touch()
    assert told(*words) == []
