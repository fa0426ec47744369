from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from medseg.contracts import Pyramid
from medseg.errors import UserError
from medseg.training.finetuning import Stages, Unfreezing
from medseg.training.optimizers import build_optimizer
from medseg.training.settings import FinetuningSettings, OptimizerSettings

GRADUAL = FinetuningSettings(frozen_stages=-1, unfreeze_epochs=(1, 3), encoder_rate=0.5, stage_decay=0.1)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pyramid = Pyramid(2, (2, 2, 2), ((1, 1), (1, 1), (1, 1)))
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.ReLU()) for _ in range(3)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


class Network(nn.Module):
    """Two encoders side by side, as in mid fusion."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleList([Encoder(), Encoder()])
        self.head = nn.Conv2d(2, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(sum(level for encoder in self.encoders for level in encoder(image)))
        return logits


class Module(L.LightningModule):
    """Trains on noise, and keeps what an epoch left of gradients, states and statistics."""

    def __init__(self, settings: FinetuningSettings) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.network = Network()
        self.stages = Stages(self.network, settings)
        self.seen: list[list[bool]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        torch.manual_seed(100 * self.current_epoch + batch_idx)
        loss: Tensor = self.network(torch.randn(4, 2, 3, 3)).square().mean()
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        optimizer: torch.optim.Optimizer = self.optimizers()  # type: ignore[assignment]
        self.seen.append([all(p in optimizer.state for p in stage) for stage in self.stages.stages])
        for stage, had in zip(self.stages.stages, self.seen[-1], strict=True):
            assert had or all(p.grad is None and not optimizer.state.get(p) for p in stage)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(OptimizerSettings(lr=0.1), self.stages.rates())


def fit(epochs: int, folder: Path, resume: bool = False) -> Module:
    module = Module(GRADUAL)
    data = torch.utils.data.DataLoader(torch.zeros(2, 1), batch_size=1)  # type: ignore[arg-type, var-annotated]
    trainer = L.Trainer(
        max_epochs=epochs, callbacks=[Unfreezing()], accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=folder / "last" if resume else None, weights_only=True)
    trainer.save_checkpoint(folder / "last")
    return module


def test_stages_are_freed_from_the_deepest_on_and_frozen_ones_have_neither_gradient_nor_state(
    tmp_path: Path,
) -> None:
    module = fit(4, tmp_path)
    per_epoch = module.seen[::2]
    assert per_epoch == [
        [False, False, False],
        [False, False, True],
        [False, False, True],
        [False, True, True],
    ]


def test_frozen_stages_keep_weights_and_statistics(tmp_path: Path) -> None:
    before = {key: value.clone() for key, value in Module(GRADUAL).network.state_dict().items()}
    after = fit(4, tmp_path).network.state_dict()
    still = {key for key, value in after.items() if torch.equal(value, before[key])}
    assert {key for key in after if ".stages.0." in key} <= still
    moved = {key for key in after if ".stages.2." in key or key.startswith("head")}
    assert not moved & still


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_unfreezing_survives_a_resume(stopped: int, tmp_path: Path) -> None:
    whole = fit(5, tmp_path / "whole").network.state_dict()
    fit(stopped, tmp_path / "cut")
    resumed = fit(5, tmp_path / "cut", resume=True).network.state_dict()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_rates_fall_towards_the_image_in_every_encoder() -> None:
    network = Network()
    rates = {p: rate for group, rate in Stages(network, GRADUAL).rates() for p in group}
    assert len(rates) == len(list(network.parameters()))
    for encoder in network.encoders:
        found = [{rates[p] for p in stage.parameters()} for stage in encoder.stages]  # type: ignore[union-attr]
        assert [max(rate) for rate in found] == pytest.approx([0.005, 0.05, 0.5])
        assert all(len(rate) == 1 for rate in found)
    assert {rates[p] for p in network.head.parameters()} == {1.0}


def test_a_network_without_stages_is_refused_and_left_alone_without_settings() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1))
    with pytest.raises(UserError, match="no encoder stages"):
        Stages(network, GRADUAL)
    groups = Stages(network, FinetuningSettings()).rates()
    assert [(len(group), rate) for group, rate in groups] == [(2, 1.0)]


def test_more_stages_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match="has 3 stages"):
        Stages(Network(), FinetuningSettings(frozen_stages=4))


def test_smp_encoders_have_stages_that_cover_what_is_trained(tmp_path: Path) -> None:
    from medseg.contracts import Topology
    from medseg.networks.smp_unet import SMPUNet

    topology = Topology(2, (64, 64), ((1, 1),), ((3, 3),), (4,))
    network = SMPUNet(topology, encoder_name="efficientnet-b0").whole(1, 2, False)
    found = Stages(network, FinetuningSettings(frozen_stages=2)).stages
    encoder = [p for p in network.encoder.parameters() if p.requires_grad]  # type: ignore[union-attr]
    assert {id(p) for stage in found for p in stage} == {id(p) for p in encoder}
    assert len(found) == 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frozen_stages": -2}, "frozen_stages: -2"),
        ({"frozen_stages": 1, "unfreeze_epochs": [1, 2]}, "unfreeze_epochs: names 2 and 1"),
        ({"frozen_stages": 1, "unfreeze_epochs": [0]}, "unfreeze_epochs: .*below 1"),
        ({"stage_decay": 0.0}, "stage_decay: 0.0"),
        ({"encoder_rate": 2.0}, "encoder_rate: 2.0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], words: str) -> None:
    import re

    (line,) = FinetuningSettings(**settings).problems()  # type: ignore[arg-type]
    assert re.match(words, line)


def trained_by_hand(in_graph: bool) -> tuple[dict[str, Tensor], list[float]]:
    """Four epochs of two steps; with the norms that were clipped to."""
    torch.manual_seed(1)
    network = Network()
    of_network = Stages(network, GRADUAL)
    optimizer = build_optimizer(OptimizerSettings(lr=0.1), of_network.rates())
    norms = []
    for epoch in range(4):
        network.train()
        of_network.freeze(epoch, in_graph)
        for step in range(2):
            torch.manual_seed(10 * epoch + step)
            optimizer.zero_grad()
            network(torch.randn(4, 2, 3, 3)).square().mean().backward()
            if in_graph:
                assert all(p.grad is not None for p in network.parameters()), "DDP waits for all of them"
            of_network.mask()
            norms.append(float(nn.utils.clip_grad_norm_(network.parameters(), 0.1)))
            optimizer.step()
    return network.state_dict(), norms


def test_dropping_gradients_is_freezing() -> None:
    """What DDP needs, every gradient there, moves, decays and clips as if frozen weights had none."""
    (frozen, norms), (masked, masked_norms) = (trained_by_hand(in_graph) for in_graph in (False, True))
    assert norms == masked_norms
    assert all(torch.equal(frozen[name], masked[name]) for name in frozen)
