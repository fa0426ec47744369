"""Predictions as files: of a folder that was never in a cohort, or of a cohort's cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from medseg.data.cohort import Case, Cohort, read_modality
from medseg.data.formats import write_like
from medseg.errors import Problems, UserError
from medseg.inference.bundle import Bundle
from medseg.inference.ensemble import Preparations, objects_prepared, predict_prepared, prepare
from medseg.inference.inputs import find_cases
from medseg.inference.object_table import write_objects
from medseg.inference.outputs import Outputs, outputs_of, spare_inputs
from medseg.inference.predictor import Predictor, make_predictors
from medseg.inference.receipt import Receipt, inputs_hash, wanted
from medseg.inference.settings import InferenceSettings

_Item = TypeVar("_Item")
_Inputs = tuple[str, Preparations]
"""The hash of what a case is predicted from, and the case made ready for the networks."""


def predict_folder(
    models: Sequence[Path],
    input: Path,
    output: Path,
    settings: InferenceSettings,
    unseen: Sequence[str] = (),
) -> dict[str, Path]:
    """Predicts every case found in ``input``; a case that fails costs one line and the others go on.

    A prediction that exists is kept, unless its scan has changed or ``settings.overwrite``.

    Args:
        models: folders of bundles; several are averaged.
        input: a folder of scans, or one scan; see `medseg.inference.inputs`.
        output: where label maps go, named as their case, in the file type of its first modality. Networks
            that find objects one by one add ``CASE_instances`` and ``CASE_objects.csv``.
        settings: how to predict.
        unseen: names of modalities in ``input`` that the models were never shown; they must take any.

    Returns:
        Case id -> the label map.

    Raises:
        UserError: a bundle cannot be used, ``input`` holds nothing to predict, or ``output`` holds
            predictions of another model, or files of the same names that are no predictions.
        Problems: once all others are done, one line per case or file that failed.
    """
    bundles = [Bundle.load(Path(model)) for model in models]
    if not bundles:
        raise UserError("model", "none is given", "use model=FOLDER")
    cases, lines = find_cases(Path(input), (*bundles[0].plan.modalities, *unseen), Path(output))
    return _predict(
        bundles, cases, Path(output), settings, lines, replace_other=settings.overwrite, unseen=unseen
    )


def predict_cases(
    cohort: Cohort,
    cases: Sequence[Case],
    bundles: Sequence[Bundle],
    output: Path,
    settings: InferenceSettings,
    *,
    without: bool = False,
) -> dict[str, Path]:
    """Predicts cases of a cohort; labels are not read.

    As `predict_folder`, but predictions of another model are replaced.

    Args:
        cohort: its labels must be those of the bundles.
        cases: of the cohort.
        bundles: their probabilities are averaged.
        output: the folder of the label maps.
        settings: how to predict.
        without: also cases that lack modalities which the model was always trained with, to see how it does.

    Returns:
        Case id -> the label map.

    Raises:
        UserError: the bundles predict other labels than the cohort has, or ``output`` holds files of the
            same names that are no predictions.
        Problems: once all others are done, one line per case that failed.
    """
    for bundle in bundles:
        if bundle.labels != cohort.labels:
            ours, theirs = ", ".join(bundle.labels.names), ", ".join(cohort.labels.names)
            problem = f"predicts {ours}, but {cohort.name} has {theirs} or other values for them"
            raise UserError(str(bundle.folder), problem, "choose a model of this task")
    return _predict(bundles, cases, output, settings, replace_other=True, without=without)


def _predict(
    bundles: Sequence[Bundle],
    cases: Sequence[Case],
    output: Path,
    settings: InferenceSettings,
    lines: Sequence[str] = (),
    *,
    replace_other: bool,
    without: bool = False,
    unseen: Sequence[str] = (),
) -> dict[str, Path]:
    predictors = make_predictors(bundles, settings, unseen)
    modalities = predictors[0].plan.modalities
    tolerant = without or bool(unseen) or all(bundle.missing_modalities for bundle in bundles)
    found, usable = list(lines), []
    for case in cases:
        lacking = [m for m in modalities if m not in case.images]
        if lacking and (not tolerant or len(lacking) == len(modalities)):
            found.append(f"{case.id}: has no {', '.join(lacking)}; this model needs it")
        else:
            usable.append(case)
    apart = any(bundle.finds_objects for bundle in bundles)
    targets = {case.id: outputs_of(output, case, _reference(case, modalities), apart) for case in usable}
    spare_inputs(usable, targets)
    files = [path for target in targets.values() for path in target.files]
    receipt = Receipt.claim(output, wanted(bundles, settings), files, replace_other)
    due = usable
    if not settings.overwrite:
        due, unreadable = _due(usable, targets, receipt, modalities)
        found += unreadable
    ahead = 0 if predictors[0].device.type == "cpu" else 1  # a CPU would only read slower
    for case, inputs in _shown(_read_ahead(partial(_read, predictors), due, ahead), len(due)):
        found += _write(predictors, case, inputs, targets[case.id], receipt)
    if found:
        raise Problems(found)
    return {case: target.label for case, target in targets.items()}


def _due(
    cases: Sequence[Case], targets: Mapping[str, Outputs], receipt: Receipt, modalities: Sequence[str]
) -> tuple[list[Case], list[str]]:
    """The cases to predict, and a line for each that cannot be compared with what it was predicted from.

    The prediction of a scan that has changed is removed: nothing else says that it is out of date.
    """
    listed, due, lines = receipt.files, [], []
    for case in cases:
        target, files = targets[case.id].label, targets[case.id].files
        try:
            digest = inputs_hash(case, modalities) if all(file.exists() for file in files) else None
            if digest is not None and all(listed.get(file.name) == digest for file in files):
                continue
            for target in files:
                if target.name in listed:
                    target.unlink(missing_ok=True)
            due.append(case)
        except UserError as error:
            lines.append(str(error))
        except OSError as error:
            lines.append(f"{target}: cannot be removed ({error.strerror or error}); its scan has changed")
    return due, lines


def _write(
    predictors: Sequence[Predictor],
    case: Case,
    inputs: Callable[[], _Inputs],
    target: Outputs,
    receipt: Receipt,
) -> Sequence[str]:
    """Predicts and writes one case; the lines of what went wrong."""
    try:
        digest, prepared = inputs()
        codes = predict_prepared(predictors, prepared)
        reference = _reference(case, predictors[0].plan.modalities)
        if target.instances is not None and target.objects is not None:
            ids, lines = objects_prepared(predictors, prepared)
            receipt.enter(target.instances, digest)
            write_like(ids, reference, target.instances)
            receipt.enter(target.objects, digest)
            write_objects(target.objects, lines)
        receipt.enter(target.label, digest)
        write_like(codes, reference, target.label)
    except Problems as problems:
        return problems.lines
    except UserError as error:
        return [str(error)]
    except OSError as error:
        return [
            f"{target.label}: cannot be written ({error.strerror or error}); free some space or its folder"
        ]
    return []


def _reference(case: Case, modalities: Sequence[str]) -> Path:
    """The file whose grid and type the prediction takes: the first modality that the case has."""
    return next(case.images[m] for m in modalities if m in case.images)


def _read(predictors: Sequence[Predictor], case: Case) -> _Inputs:
    names: Mapping[str, str] = {modality: str(path) for modality, path in case.images.items()}
    modalities = predictors[0].plan.modalities
    digest = inputs_hash(case, modalities)
    volumes = {m: read_modality(case, m) for m in modalities if m in case.images}
    return digest, prepare(predictors, volumes, names)


def _read_ahead(
    read: Callable[[Case], _Item], cases: Sequence[Case], ahead: int
) -> Iterator[tuple[Case, Callable[[], _Item]]]:
    """Each case with a way to get what ``read`` gives or raises; the next are read while one is used."""
    if ahead == 0:
        for case in cases:
            yield case, partial(read, case)
        return
    with ThreadPoolExecutor(max_workers=1) as reader:
        waiting = [reader.submit(read, case) for case in cases[:ahead]]
        for n, case in enumerate(cases):
            if n + ahead < len(cases):
                waiting.append(reader.submit(read, cases[n + ahead]))
            yield case, waiting.pop(0).result


def _shown(items: Iterator[_Item], total: int) -> Iterator[_Item]:
    """The same items under a progress bar, where someone watches."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if total == 0 or not console.is_terminal:
        yield from items
        return
    yield from track(items, total=total, description="predicting", console=console)
