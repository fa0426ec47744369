"""Hydra's view of a folder of YAML files, each one measured before it is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigResult

from medseg.config.yaml_guard import check_yaml


class GuardedSource(FileConfigSource):  # type: ignore[misc,unused-ignore]
    """A folder, as ``guarded:///path``."""

    @staticmethod
    def scheme() -> str:
        """The word before ``://``."""
        return "guarded"

    def load_config(self, config_path: str) -> ConfigResult:
        """Loads one file, or raises `UserError` where it is not harmless YAML."""
        file = Path(os.path.realpath(Path(self.path) / self._normalize_file_name(config_path)))
        if file.is_file():
            check_yaml(file)
        return super().load_config(config_path)


def register() -> None:
    """Makes ``guarded://`` known to Hydra; may be called again."""
    SourcesRegistry.instance().register(GuardedSource)
