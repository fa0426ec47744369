"""How runs are told apart by their settings."""

from __future__ import annotations

import pytest

from medseg.errors import UserError
from medseg.training.method_names import (
    method_settings,
    name_of,
    reference_of,
    unknown_to_some,
    varied,
)

UNET = {"_target_": "medseg.networks.unet.UNet", "norm": "instance", "dropout": 0.0}
SMP = {"_target_": "medseg.networks.smp_unet.SmpUNet", "encoder_name": "resnet50", "weights": None}


def names(
    *configs: dict, overrides: list[list[str]] | None = None, vary: list[str] | None = None
) -> list[str]:
    found, _ = method_settings(configs, overrides or [[] for _ in configs], vary)
    return [name_of(settings) for settings in found]


def test_seed_fold_and_where_things_are_make_no_method() -> None:
    one = {
        "seed": 0,
        "fold": 0,
        "runs": "a",
        "data": {"root": "x", "name": "d"},
        "tracking": {"wandb": "offline"},
    }
    other = {
        "seed": 1,
        "fold": 4,
        "runs": "b",
        "data": {"root": "y", "name": "d"},
        "tracking": {"wandb": "online"},
    }
    assert names(one, other) == ["all runs", "all runs"]


def test_a_part_is_named_by_its_choice_and_else_by_its_class() -> None:
    configs = [{"network": UNET}, {"network": SMP}]
    assert names(*configs, overrides=[["network=unet"], ["network=smp_resnet50"]]) == ["unet", "smp_resnet50"]
    assert names(*configs) == ["UNet", "SmpUNet"]
    three = [{"network": UNET}, {"network": UNET}, {"network": SMP}]
    assert names(*three, overrides=[["network=unet"], [], []]) == ["unet", "unet", "SmpUNet"]


def test_options_that_come_with_a_part_are_not_repeated_and_others_are() -> None:
    wide = UNET | {"dropout": 0.3}
    assert names({"network": UNET}, {"network": SMP}, {"network": wide}) == [
        "UNet, dropout 0", "SmpUNet, dropout –", "UNet, dropout 0.3",
    ]  # fmt: skip


def test_a_setting_that_older_runs_do_not_have_makes_no_method() -> None:
    """Unless runs that have it differ in it."""
    old, new = {"training": {"steps": 5}}, {"training": {"steps": 5, "devices": 1}}
    assert names(old, new) == ["all runs", "all runs"]
    assert unknown_to_some([old, new], [[], []]) == ["training.devices"]
    two = {"training": {"steps": 5, "devices": 2}}
    assert names(old, new, two) == ["devices –", "devices 1", "devices 2"]
    assert names({"network": UNET | {"width": 8}}, {"network": UNET}) == ["all runs", "all runs"]
    assert unknown_to_some([{"network": UNET}, {"network": SMP}], [[], []]) == []


def test_a_setting_is_named_in_full_where_its_last_word_is_not_enough() -> None:
    configs = [
        {"optimizer": {"name": "adam", "decay": 0.1}, "objective": {"_target_": "a.B", "decay": 0.5}},
        {"optimizer": {"name": "sgd", "decay": 0.2}, "objective": {"_target_": "a.B", "decay": 0.6}},
    ]
    assert names(*configs)[0] == "adam, optimizer.decay 0.1, objective.decay 0.5"


def test_vary_keeps_its_order_and_tells_what_it_leaves_out() -> None:
    configs = [{"a": {"x": 1, "y": 2}, "b": {"z": 3}}, {"a": {"x": 2, "y": 2}, "b": {"z": 4}}]
    found, rest = method_settings(configs, [[], []], ["b"])
    assert [name_of(own) for own in found] == ["z 3", "z 4"]
    assert rest == ["a.x"]
    assert varied(configs, [[], []]) == ["a.x", "b.z"]
    with pytest.raises(UserError, match="vary: c is no setting"):
        method_settings(configs, [[], []], ["c"])


GRID = [(("fusion", f), ("dropout", d)) for f in ("early", "mid") for d in ("0", "0.5")]


@pytest.mark.parametrize("against", ["early", "fusion=early", "EARLY"])
def test_a_value_is_a_reference_with_all_else_equal(against: str) -> None:
    found = reference_of(GRID, against)
    assert found == {GRID[2]: GRID[0], GRID[3]: GRID[1]}


def test_a_method_is_a_reference_for_all() -> None:
    found = reference_of(GRID, "early, dropout 0.5")
    assert found == dict.fromkeys([GRID[0], GRID[2], GRID[3]], GRID[1])


def test_an_unclear_reference_is_refused() -> None:
    both = [(("loss", "dice"), ("metric", "dice")), (("loss", "ce"), ("metric", "dice"))]
    with pytest.raises(UserError, match="names several settings"):
        reference_of(both, "dice")
    with pytest.raises(UserError, match="names no method"):
        reference_of(GRID, "late")
