"""Where the numbers and pictures of one training go: the run's own file, and W&B where it is asked for."""

from __future__ import annotations

from lightning.pytorch.loggers import Logger, WandbLogger

from medseg.tracking.local import LocalLogger
from medseg.tracking.weights_and_biases import Pseudonyms, build_wandb, finish_wandb, send_pictures
from medseg.training.recipe import Recipe
from medseg.training.run_folder import RunFolder


class Loggers:
    """The loggers of a run.

    Args:
        recipe: says whether W&B is wanted.
        run: where the files go.
        leads: whether this is rank zero; the others have no W&B run.

    Attributes:
        local: writes ``metrics.csv``.
    """

    def __init__(self, recipe: Recipe, run: RunFolder, leads: bool) -> None:
        self.recipe, self.run = recipe, run
        self.local = LocalLogger(run.metrics)
        self.wanted = recipe.tracking.wandb != "disabled"
        self._wandb: WandbLogger | None = None
        self._leads = leads

    def all(self) -> list[Logger]:
        """Those that Lightning writes to; W&B's run is opened, or opened again, here."""
        if not self.wanted or not self._leads:
            return [self.local]
        if self._wandb is None:
            recipe = self.recipe
            self._wandb = build_wandb(
                recipe.tracking, self.run.path, recipe.run_id, recipe.name, recipe.config
            )
        return [self.local, self._wandb]

    def show(self, pictures: list[tuple[str, bytes]], step: int) -> None:
        """Sends pictures to W&B under pseudonyms."""
        if self._wandb is not None:
            pseudonym = Pseudonyms(self.run.path / "pseudonym-salt.txt")
            named = [(pseudonym(case), png) for case, png in pictures]
            send_pictures(self._wandb, "validation_volume/pictures", named, step)

    def close(self) -> None:
        """Ends the W&B run, so that its files are whole."""
        if self._wandb is not None:
            finish_wandb()
