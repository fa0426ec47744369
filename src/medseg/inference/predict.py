"""Predictions as files: of a folder that was never in a cohort, or of a cohort's cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from medseg.data.cohort import Case, Cohort
from medseg.data.shard import Shard
from medseg.errors import Problems, UserError
from medseg.inference.bundle import Bundle
from medseg.inference.case_writer import CaseWriter, Inputs
from medseg.inference.ensemble_bundle import Model, load_model, model_of
from medseg.inference.finish import Finish, Spec
from medseg.inference.inputs import find_cases
from medseg.inference.outputs import Outputs, outputs_of, spare_inputs
from medseg.inference.receipt import Receipt, inputs_hash, wanted
from medseg.inference.review import read_review
from medseg.inference.settings import InferenceSettings

_Item = TypeVar("_Item")


def predict_folder(
    models: Sequence[Path],
    input: Path,
    output: Path,
    settings: InferenceSettings,
    unseen: Sequence[str] = (),
    postprocess: Sequence[Spec] | None = None,
    shard: Shard | None = None,
    *,
    bar: bool = True,
) -> dict[str, Path]:
    """Predicts every case found in ``input``; a case that fails costs one line and the others go on.

    A prediction that exists is kept, unless its scan has changed or ``settings.overwrite``.

    Args:
        models: folders of bundles or ensembles; several are averaged.
        input: a folder of scans, or one scan; see `medseg.inference.inputs`.
        output: where label maps go, named as their case, in the file type of its first modality. Networks
            that find objects one by one add ``CASE_instances`` and ``CASE_objects.csv``; what ``settings``
            asks for comes beside it.
        settings: how to predict.
        unseen: names of modalities in ``input`` that the models were never shown; they must take any.
        postprocess: specs to finish with; ``None`` for what the models say themselves.
        shard: the share of the cases to predict; other processes may predict others into ``output``.
        bar: whether a terminal shows how far it is.

    Returns:
        Case id -> the label map.

    Raises:
        UserError: a bundle cannot be used, ``input`` holds nothing to predict, or ``output`` holds
            predictions of another model, or files of the same names that are no predictions.
        Problems: once all others are done, one line per case or file that failed.
    """
    model = load_model([Path(path) for path in models])
    if postprocess is not None:
        model = replace(model, finish=model.finish.with_steps(postprocess))
    modalities = model.bundles[0].plan.modalities
    cases, lines = find_cases(Path(input), (*modalities, *unseen), Path(output))
    cases = cases if shard is None else shard.among(cases)
    return _predict(
        model, cases, Path(output), settings, lines, replace_other=settings.overwrite, unseen=unseen, bar=bar
    )


def predict_cases(
    cohort: Cohort,
    cases: Sequence[Case],
    bundles: Sequence[Bundle],
    output: Path,
    settings: InferenceSettings,
    *,
    without: bool = False,
    finish: Finish | None = None,
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
        finish: what is done to the mean of their probabilities; ``None`` for what all of the bundles say.

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
    model = model_of(bundles) if finish is None else Model(tuple(bundles), finish)
    return _predict(model, cases, output, settings, replace_other=True, without=without)


def _predict(
    model: Model,
    cases: Sequence[Case],
    output: Path,
    settings: InferenceSettings,
    lines: Sequence[str] = (),
    *,
    replace_other: bool,
    without: bool = False,
    unseen: Sequence[str] = (),
    bar: bool = True,
) -> dict[str, Path]:
    writer = CaseWriter(model, settings, unseen)
    modalities = writer.modalities
    tolerant = without or bool(unseen) or all(bundle.missing_modalities for bundle in model.bundles)
    found, usable = list(lines), []
    for case in cases:
        lacking = [m for m in modalities if m not in case.images]
        if lacking and (not tolerant or len(lacking) == len(modalities)):
            found.append(f"{case.id}: has no {', '.join(lacking)}; this model needs it")
        else:
            usable.append(case)
    targets = {case.id: outputs_of(output, case, writer.reference(case), writer.extras) for case in usable}
    spare_inputs(usable, targets)
    every = (path for target in targets.values() for path in (*target.files, target.review))
    files = [path for path in dict.fromkeys(every) if path is not None]
    decides = wanted(model.bundles, settings, model.finish)
    receipt = Receipt.claim(output, decides, files, replace_other)
    due = usable
    if not settings.overwrite:
        due, unreadable = _due(usable, targets, receipt, writer)
        found += unreadable
    ahead = 0 if writer.on_cpu else 1  # a CPU would only read slower
    for case, inputs in _shown(_read_ahead(writer.read, due, ahead), len(due) * bar):
        found += _write(writer, case, inputs, targets[case.id], receipt)
    if found:
        raise Problems(found)
    return {case: target.label for case, target in targets.items()}


def _due(
    cases: Sequence[Case], targets: Mapping[str, Outputs], receipt: Receipt, writer: CaseWriter
) -> tuple[list[Case], list[str]]:
    """The cases to predict, and a line for each that cannot be compared with what it was predicted from.

    The prediction of a scan that has changed is removed: nothing else says that it is out of date.
    """
    listed, due, lines = receipt.files, [], []
    review = next((target.review for target in targets.values() if target.review is not None), None)
    reviewed = None if review is None else read_review(review, writer.labels.names)
    for case in cases:
        target, files = targets[case.id].label, targets[case.id].files
        try:
            there = all(file.exists() for file in files) and (reviewed is None or case.id in reviewed)
            digest = inputs_hash(case, writer.modalities) if there else None
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
    writer: CaseWriter, case: Case, inputs: Callable[[], Inputs], target: Outputs, receipt: Receipt
) -> Sequence[str]:
    """Predicts and writes one case; the lines of what went wrong."""
    try:
        writer.write(case, inputs(), target, receipt)
    except Problems as problems:
        return problems.lines
    except UserError as error:
        return [str(error)]
    except OSError as error:
        return [
            f"{target.label}: cannot be written ({error.strerror or error}); free some space or its folder"
        ]
    return []


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
