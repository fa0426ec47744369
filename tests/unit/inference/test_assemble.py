import pytest
import torch

from medseg.contracts import Labels, Network
from medseg.errors import Problems
from medseg.inference.assemble import assemble_network

from .toys import EARLY, TWO_CLASSES, UNET, flat_plan, tiny_plan


@pytest.mark.parametrize(("plan", "size"), [(tiny_plan, (8, 8, 8)), (flat_plan, (8, 8))])
@pytest.mark.parametrize("modalities", [("MRI",), ("T1", "T2", "FLAIR")])
@pytest.mark.parametrize("labels", [TWO_CLASSES, Labels(("WT", "ET"), ((1, 2), (2,)), overlapping=True)])
def test_the_plan_and_the_labels_decide_the_ends(plan, size, modalities, labels):
    network = assemble_network(UNET, EARLY, plan(modalities=modalities), labels, deep_supervision=True)
    assert isinstance(network, Network)
    image = torch.zeros((2, len(modalities), *size))
    logits = network.eval()(image, torch.ones((2, len(modalities)), dtype=torch.bool))
    assert logits[0].shape == (2, labels.out_channels, *size)


def test_options_reach_the_part_and_misspelt_ones_are_named():
    wide = assemble_network({**UNET, "convs_per_level": 3}, EARLY, tiny_plan(), TWO_CLASSES)
    plain = assemble_network(UNET, EARLY, tiny_plan(), TWO_CLASSES)
    assert sum(p.numel() for p in wide.parameters()) > sum(p.numel() for p in plain.parameters())
    with pytest.raises(Problems, match="convs_per_level"):
        assemble_network({**UNET, "convs_per_levle": 3}, EARLY, tiny_plan(), TWO_CLASSES)


def test_a_part_of_another_room_is_refused():
    with pytest.raises(Problems, match="networks"):
        assemble_network(EARLY, EARLY, tiny_plan(), TWO_CLASSES)
