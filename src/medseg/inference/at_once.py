"""A folder of scans predicted by several processes of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from medseg.data.parallel import for_each
from medseg.data.shard import Shard
from medseg.errors import Problems
from medseg.inference.finish import Spec
from medseg.inference.predict import predict_folder
from medseg.inference.settings import InferenceSettings


def predict_at_once(
    models: Sequence[Path],
    input: Path,
    output: Path,
    settings: InferenceSettings,
    unseen: Sequence[str],
    postprocess: Sequence[Spec] | None,
    workers: int,
) -> dict[str, Path]:
    """As `predict_folder`, each process with a share of the cases and of the cores, and a model of its own.

    A process that is killed is replaced by one that goes on where it stopped.

    Raises:
        UserError: as `predict_folder`.
        Problems: as `predict_folder`, and where a process is killed twice.
    """
    shares = [Shard(number, workers) for number in range(workers)]
    share = partial(predict_folder, models, input, output, settings, unseen, postprocess, bar=False)
    try:
        parts = for_each(share, shares, workers, "predicting", enough=1)
    except Problems as problems:
        # What is wrong with the folder itself is said by every share.
        raise Problems(dict.fromkeys(line for told in problems.lines for line in told.splitlines())) from None
    return {case: path for part in parts for case, path in part.items()}
