"""From a verb and its overrides to plain data, with a line for everything that is wrong on the way."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from medseg.config.check import config_problems
from medseg.config.folders import conf_folder, options
from medseg.config.hydra_node import hydra_problems
from medseg.config.overrides import Overrides, read_overrides
from medseg.config.references import resolved
from medseg.config.sources import register
from medseg.errors import Problems, UserError
from medseg.targets import nearest

_REFUSALS = (HydraException, OmegaConfBaseException, UserError, ValueError)


@dataclass(frozen=True)
class Composed:
    """A configuration that was composed.

    Attributes:
        verb: the verb it is for.
        config: plain data: every reference resolved, Hydra's own node left out.
        overrides: what was given on the command line.
        problems: everything wrong with it, one line each.
    """

    verb: str
    config: dict[str, Any]
    overrides: tuple[str, ...]
    problems: tuple[str, ...]

    def checked(self) -> Composed:
        """Itself, or `Problems` raised where there are any."""
        if self.problems:
            raise Problems(self.problems)
        return self


def search_path(config_dirs: Sequence[Path] = ()) -> ConfigSearchPath:
    """Hydra's own configuration, medseg's, then the user's folders."""
    register()
    path: ConfigSearchPath = create_config_search_path(f"guarded://{conf_folder()}")
    for folder in config_dirs:
        if not folder.is_dir():
            raise UserError("--config-dir", f"{folder} is not a folder")
        path.prepend("command-line", f"guarded://{folder.resolve()}", anchor="schema")
    return path


@contextlib.contextmanager
def no_environment() -> Iterator[None]:
    """While inside, no interpolation can read the environment, where keys and tokens live."""
    version.setbase("1.3")

    def refuse(*names: object) -> None:
        raise UserError(
            "${oc.env:...}", "reads the environment, which a configuration may not", "write the value"
        )

    OmegaConf.register_new_resolver("oc.env", refuse, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def compose(verb: str, given: Sequence[str] = (), config_dirs: Sequence[Path] = ()) -> Composed:
    """Composes ``conf/VERB.yaml`` with the overrides and collects every problem."""
    with no_environment():
        loader = ConfigLoaderImpl(search_path(config_dirs))
        overrides = read_overrides(verb, given, tuple(config_dirs))
        lines = [*overrides.problems]
        node, more = _load(loader, verb, overrides)
        lines += more
    config = plain(node)
    lines += hydra_problems(node)
    config, unresolved = resolved(config)
    lines += unresolved
    lines += [line for line in config_problems(verb, config) if not _told(line, lines)]
    return Composed(verb, config, tuple(given), tuple(sorted(set(lines))))


def plain(node: DictConfig) -> dict[str, Any]:
    """The configuration as Python data, references still unresolved, without Hydra's own node."""
    content = OmegaConf.to_container(node, resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items() if key != "hydra"}


def _told(line: str, lines: Sequence[str]) -> bool:
    """Whether another line speaks of the same key already."""
    key = line.partition(":")[0]
    return any(other.partition(":")[0] == key for other in lines)


def _load(loader: ConfigLoaderImpl, verb: str, overrides: Overrides) -> tuple[DictConfig, list[str]]:
    """Composes with every override that can be applied; a line for each that cannot."""
    try:
        return _once(loader, verb, overrides.lines), []
    except _REFUSALS:
        kept, refused = _applicable(loader, verb, overrides.lines)
        return _once(loader, verb, kept), refused


def _applicable(loader: ConfigLoaderImpl, verb: str, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides that can be applied, found by halving, and what is told of each other one."""
    kept: list[str] = []
    refused: list[str] = []

    def apply(lines: Sequence[str]) -> None:
        try:
            _once(loader, verb, [*kept, *lines])
        except _REFUSALS as error:
            if len(lines) <= 1:
                if not lines:
                    raise
                refused.append(_told_by_hydra(lines[0], error))
                return
            apply(lines[: len(lines) // 2])
            apply(lines[len(lines) // 2 :])
        else:
            kept.extend(lines)

    apply(overrides)
    return kept, refused


def _once(loader: ConfigLoaderImpl, verb: str, lines: Sequence[str]) -> DictConfig:
    return loader.load_configuration(verb, list(lines), RunMode.RUN)


def _told_by_hydra(line: str, error: Exception) -> str:
    cause = error if isinstance(error, UserError) else error.__cause__ or error
    if isinstance(cause, UserError):
        return str(cause)
    text = next((t.strip() for t in str(cause).splitlines() if t.strip()), type(cause).__name__)
    missing = re.search(r"Could not find '(\w+)/([^']+)'", text)
    guess = nearest(missing[2], options(missing[1])) if missing else None
    hint = f"; did you mean {guess}?" if guess else ""
    return f"{line.lstrip('+~')}: cannot be applied ({text}){hint}"
