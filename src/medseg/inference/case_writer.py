"""One case: predicted, finished and written, with all that was asked for beside its label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import Labels
from medseg.data.cohort import Case, read_modality
from medseg.data.formats import Volume, write_like, write_map_like
from medseg.inference.ensemble import Preparations, maps_prepared, members, objects_prepared, prepare
from medseg.inference.ensemble_bundle import Model
from medseg.inference.finish import Finish
from medseg.inference.maps import Maps, Wanted
from medseg.inference.object_table import write_objects
from medseg.inference.outputs import Extras, Outputs
from medseg.inference.predictor import Predictor, make_predictors
from medseg.inference.probability_file import write_probabilities
from medseg.inference.receipt import Receipt, alone, inputs_hash
from medseg.inference.restore import file_values
from medseg.inference.review import read_review, review_line, write_review
from medseg.inference.settings import InferenceSettings
from medseg.postprocess.chain import Chain
from medseg.postprocess.segmented import Segmented


@dataclass(frozen=True)
class Inputs:
    """A case that was read.

    Attributes:
        digest: the hash of what it is predicted from.
        prepared: as the networks take it.
        image: ``(M, W, H, D)`` as in its files, where a step of the post-processing reads it.
    """

    digest: str
    prepared: Preparations
    image: NDArray[np.float32] | None


class CaseWriter:
    """A model with all that decides how its predictions are made and written.

    Args:
        model: what predicts.
        settings: how.
        unseen: modalities beyond those of the model.

    Raises:
        UserError: the model cannot do what is asked for.
    """

    def __init__(self, model: Model, settings: InferenceSettings, unseen: Sequence[str] = ()) -> None:
        self.finish: Finish = model.finish
        self.labels: Labels = model.labels
        self.predictors: list[Predictor] = make_predictors(model.bundles, settings, unseen)
        self.extras = Extras(
            objects=any(bundle.finds_objects for bundle in model.bundles),
            probabilities=settings.probabilities,
            uncertainty=settings.uncertainty,
            disagreement=members(self.predictors) > 1,
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """What is read of a case."""
        return self.predictors[0].plan.modalities

    @property
    def on_cpu(self) -> bool:
        """Whether reading ahead would only take the networks' time."""
        return self.predictors[0].device.type == "cpu"

    @cached_property
    def chain(self) -> Chain:
        """The steps of post-processing."""
        return self.finish.chain(self.labels)

    def reference(self, case: Case) -> Path:
        """The file whose grid and type the prediction takes: the first modality that the case has."""
        return next(case.images[m] for m in self.modalities if m in case.images)

    def read(self, case: Case) -> Inputs:
        """Reads and prepares a case.

        Raises:
            UserError: a file of it cannot be used.
        """
        names: Mapping[str, str] = {modality: str(path) for modality, path in case.images.items()}
        digest = inputs_hash(case, self.modalities)
        volumes = {m: read_modality(case, m) for m in self.modalities if m in case.images}
        prepared = prepare(self.predictors, volumes, names)
        shown = self._image(volumes) if "image" in self.chain.needs else None
        return Inputs(digest, prepared, shown)

    def write(self, case: Case, inputs: Inputs, target: Outputs, receipt: Receipt) -> None:
        """Predicts a case and writes its files, the label map last.

        Raises:
            UserError: something of it cannot be done.
            OSError: the folder cannot be written.
        """
        reference, digest = self.reference(case), inputs.digest
        maps, codes = self.predicted(inputs, target.label.parent)
        if target.instances is not None and target.objects is not None:
            ids, lines = objects_prepared(self.predictors, inputs.prepared)
            receipt.enter(target.instances, digest)
            write_like(ids, reference, target.instances)
            receipt.enter(target.objects, digest)
            write_objects(target.objects, lines)
        if target.probabilities is not None and maps.probabilities is not None:
            receipt.enter(target.probabilities, digest)
            write_probabilities(target.probabilities, maps.probabilities)
        for path, values in ((target.uncertainty, maps.entropy), (target.disagreement, maps.spread)):
            if path is not None and values is not None:
                receipt.enter(path, digest)
                write_map_like(values, reference, path)
        if target.review is not None:
            self._enter(case, maps, codes, target.review, receipt)
        receipt.enter(target.label, digest)
        write_like(file_values(self.labels)[codes], reference, target.label)

    def predicted(self, inputs: Inputs, folder: Path | None = None) -> tuple[Maps, NDArray[np.uint8]]:
        """The maps as the networks give them, and the codes after post-processing.

        Args:
            inputs: of the case.
            folder: where probabilities lie meanwhile; ``None`` for memory.
        """
        needs, extras = self.chain.needs, self.extras
        wanted = Wanted(
            probabilities=extras.probabilities or extras.uncertainty or "probabilities" in needs,
            entropy=extras.uncertainty,
            spread=extras.uncertainty and extras.disagreement,
            temperature=self.finish.temperature,
            folder=folder,
        )
        maps = maps_prepared(self.predictors, inputs.prepared, wanted)
        affine = np.array(next(iter(inputs.prepared.values())).geometry.affine)
        x, y, z = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
        case = Segmented(maps.codes, (x, y, z), maps.probabilities, inputs.image)
        return maps, self.chain(case).codes

    def _image(self, volumes: Mapping[str, Volume]) -> NDArray[np.float32]:
        shape = next(iter(volumes.values())).array.shape
        image = np.zeros((len(self.modalities), *shape), np.float32)
        for channel, modality in enumerate(self.modalities):
            if modality in volumes:
                image[channel] = volumes[modality].array
        return image

    def _enter(
        self, case: Case, maps: Maps, codes: NDArray[np.uint8], review: Path, receipt: Receipt
    ) -> None:
        """Puts the case into the list of those to review."""
        assert maps.probabilities is not None
        assert maps.entropy is not None
        line = review_line(case.id, codes, maps.probabilities, maps.entropy, maps.spread, self.labels)
        receipt.enter(review, receipt.own)
        with alone(review.parent):  # another process may predict other cases into the folder
            lines = read_review(review, self.labels.names) | {case.id: line}
            write_review(review, lines.values(), self.labels.names)
