"""Choices that do not go together are told when the configuration is checked, with what would do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medseg.config.compose import compose
from medseg.config.freeze import frozen
from medseg.training.recipe import id_of

FINDS = ["network=mask_rcnn", "objective=instances"]
DROPOUT = "augmentation.modality_dropout_probability=0.3"


def told(*words: str) -> list[str]:
    return list(compose("train", list(words)).problems)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["queue=torchio", DROPOUT], "augmentation.modality_dropout_probability: 0.3 .*use queue=patch"),
        (["network=smp_resnet50", "network.weights=none.pth"], "network.weights: none.pth is not a file"),
        ([*FINDS, "network.weights=none.pth"], "network.weights: none.pth is not a file"),
        (["network=smp_resnet50", "network.weights_sha256=ab"], "network.weights_sha256: there is no file"),
        (
            ["network=smp_resnet50", "network.weights=imagenet", "network.weights_sha256=ab"],
            "network.weights_sha256: there is no file",
        ),
        ([*FINDS, "network.norm=frozen"], "network.norm: frozen.*give network.weights"),
        ([*FINDS, "network.norm=group", "network.weights=imagenet"], "network.norm: weights are of batch"),
        (["network=dynunet", "finetuning=frozen"], "finetuning: DynUNet has no encoder stages.*unet"),
        (
            ["finetuning=frozen", "finetuning.frozen_stages=5", "plan.max_levels=4"],
            "finetuning.frozen_stages: names 5 stages and UNet has at most 4",
        ),
        (
            ["finetuning=gradual", "plan.max_levels=3"],
            "finetuning.unfreeze_epochs: names 4 stages and UNet has at most 3",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_is_refused(words: list[str], line: str) -> None:
    found = told(*words)
    assert len(found) == 1
    assert re.match(line, found[0]), found


def test_what_is_beside_it_is_legal(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"read later")
    for words in (
        ["queue=patch", DROPOUT],
        ["queue=torchio"],
        ["network=smp_resnet50", f"network.weights={file}", "network.weights_sha256=ab"],
        ["network=smp_resnet50", "network.weights=imagenet", "network.norm=group"],
        [*FINDS, "network.norm=frozen", "network.weights=imagenet"],
        ["network=dynunet", "finetuning=none"],
        ["finetuning=gradual", "plan.max_levels=4"],
        ["finetuning=gradual"],
        ["network=smp_resnet50", "finetuning=gradual", "plan.max_levels=2"],  # its levels are its own
    ):
        assert told(*words) == [], words


def fixes(words: list[str]) -> tuple[set[str], set[str]]:
    """The fusions and the networks that the line about the fusion names."""
    (line,) = (line for line in told(*words) if line.startswith("fusion:"))
    _, _, fix = line.partition("; use fusion=")
    fusions, _, networks = fix.partition(", or a network of ")
    return {*fusions.split(" or ")}, {*networks.split(", ")} - {""}


def test_only_what_would_be_legal_is_named_instead_of_a_fusion() -> None:
    for words in (["network=dynunet", "fusion=mid"], [*FINDS, "fusion=agnostic"]):
        fusions, networks = fixes(words)
        kept = [word for word in words if not word.startswith("fusion=")]
        assert fusions
        assert all(told(*kept, f"fusion={name}") == [] for name in fusions)
        others = [word for word in words if not word.startswith("network=")]
        assert all(told(*others, f"network={name}") == [] for name in networks)
    assert fixes(["network=dynunet", "fusion=mid"])[0] == {"early", "late"}
    assert fixes([*FINDS, "fusion=mid"]) == ({"early"}, set())


@pytest.mark.parametrize("known", ["id", "hash"])
@pytest.mark.parametrize("kept", ["checkpoints/00000010-ab.ckpt", "model/model.json"])
def test_a_run_that_goes_on_does_not_need_the_file_it_began_with(
    tmp_path: Path, known: str, kept: str
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"read once")
    words = ["network=smp_resnet50", f"network.weights={file}", f"runs={tmp_path / 'runs'}", "name=study"]
    words += ["id=one"] if known == "id" else []
    composed = compose("train", words)
    assert composed.problems == ()
    run = tmp_path / "runs" / "study" / ("one" if known == "id" else id_of(frozen(composed.config)))
    file.unlink()
    assert told(*words) == [f"network.weights: {file} is not a file; give a .safetensors or .pth file, "
                            "imagenet or null"]  # fmt: skip
    (run / kept).parent.mkdir(parents=True)
    (run / kept).touch()
    assert told(*words) == []
    (other,) = told(*words, "name=other")
    assert other.startswith("network.weights: ")
