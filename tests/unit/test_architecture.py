"""The plan of the house, held against the source: who imports whom, names, sizes, and what an import does."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "medseg"
FILES = sorted(PACKAGE.rglob("*.py"))

FREE = {"contracts", "errors", "files", "targets"}
MEETING = {"config", "cli"}
ROOMS: dict[str, set[str]] = {
    "data": set(),
    "patches": {"data"},
    "networks": set(),
    "fusion": set(),
    "losses": set(),
    "objectives": {"losses"},
    "postprocess": {"data"},
    "inference": {"data", "postprocess"},
    "evaluation": {"data", "postprocess"},
    "tracking": set(),
    "classical": {"data", "evaluation"},
    "annotation": {"data"},
    "deploy": {"data", "inference"},
    "explain": {"data", "inference"},
    "federated": {"data", "patches", "training", "inference", "evaluation", "tracking"},
}
"""Room -> the rooms that it may import beside the free modules; `training` is where all of them meet."""

FREE_MAY: dict[str, set[str]] = {
    "contracts": set(),
    "errors": set(),
    "files": {"errors"},
    "targets": {"errors"},
}
OUTSIDE = {
    "hydra": ("config/", "cli.py"),
    "omegaconf": ("config/", "cli.py"),
    "torchio": ("patches/", "data/cohort.py"),
    "wandb": ("tracking/",),
    "lightning": ("training/", "patches/datamodule.py", "tracking/"),
    "pytorch_lightning": (),
    "pickle": (),
    "numba": ("patches/", "evaluation/", "data/", "postprocess/", "inference/"),
}
"""Package -> the only places that may import it."""

BANNED_NAMES = {"utils", "helpers", "common", "misc", "base", "manager", "tools", "utilities"}
TOP_LEVEL = {
    "pyproject.toml", "requirements.lock", "Makefile", "README.md", "CHANGELOG.md", "CONTRIBUTING.md",
    "LICENSE",     ".ci", "conf", "src", "experiments", "notebooks", "slurm", "benchmarks", "tests", "docs",
    ".gitignore", ".gitattributes", ".pre-commit-config.yaml", ".python-version",
}  # fmt: skip


class Import(NamedTuple):
    module: str
    line: int
    typing_only: bool


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports_of(file: Path) -> list[Import]:
    """Every import of a file, those inside functions and under TYPE_CHECKING too."""
    here = ["medseg", *file.relative_to(PACKAGE).with_suffix("").parts]
    package = here[:-1]
    found: list[Import] = []

    def visit(node: ast.AST, typing_only: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inside = typing_only or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, child.lineno, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                stem = package[: len(package) - child.level + 1] if child.level else []
                module = ".".join([*stem, *([child.module] if child.module else [])])
                names = (
                    [f"{module}.{alias.name}" for alias in child.names] if module == "medseg" else [module]
                )
                found.extend(Import(name, child.lineno, inside) for name in names)
            visit(child, inside)

    visit(tree_of(file), False)
    return found


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_imported(file: Path) -> Iterator[tuple[str, int]]:
    for module, line, _ in imports_of(file):
        parts = module.split(".")
        if parts[0] == "medseg" and len(parts) > 1 and parts[1] != room_of(file):
            yield parts[1], line


def functions_of(file: Path) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines, the docstring left out."""
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                assert first.end_lineno is not None
                lines -= first.end_lineno - first.lineno + 1
            yield f"{node.name}:{node.lineno}", lines


def faults(rule: Callable[[Path], Iterable[str]], files: Iterable[Path] = FILES) -> list[str]:
    """What a rule says of each file, with the file's name before it."""
    return [f"{file.relative_to(PACKAGE)}: {line}" for file in files for line in rule(file)]


def forbidden_rooms(file: Path) -> Iterator[str]:
    room = room_of(file)
    if room in MEETING or room == "__init__":
        return
    allowed = FREE_MAY[room] if room in FREE else {*FREE, *(ROOMS if room == "training" else ROOMS[room])}
    for other, line in rooms_imported(file):
        if other not in allowed and other != "__version__":
            yield f"line {line} imports {other}; {room} may import {sorted(allowed)}"


def test_every_room_is_known() -> None:
    assert {room_of(file) for file in FILES} <= {*ROOMS, *FREE, *MEETING, "training", "__init__"}


def test_each_room_imports_only_what_it_may() -> None:
    assert not faults(forbidden_rooms)


def test_no_two_rooms_import_each_other() -> None:
    arrows: dict[tuple[str, str], str] = {}
    for file in FILES:
        for other, line in rooms_imported(file):
            arrows.setdefault((room_of(file), other), f"{file.relative_to(ROOT)}:{line}")
    both = {tuple(sorted(pair)) for pair in arrows if pair[::-1] in arrows}
    assert not both, [(arrows[a, b], arrows[b, a]) for a, b in both]


def test_heavy_packages_stay_in_their_rooms() -> None:
    def rule(file: Path) -> Iterator[str]:
        place = str(file.relative_to(PACKAGE))
        for module, line, typing_only in imports_of(file):
            only = OUTSIDE.get(module.split(".")[0])
            if only is not None and not typing_only and not place.startswith(only):
                yield f"line {line} imports {module}, which belongs in {only}"

    assert not faults(rule)


def test_settings_need_the_standard_library_alone() -> None:
    def rule(file: Path) -> Iterator[str]:
        for module, line, _ in imports_of(file):
            light = module.split(".")[0] in sys.stdlib_module_names or module.startswith("medseg.errors")
            if not light:
                yield f"line {line} imports {module}; the check of a configuration reads this first"

    assert not faults(rule, [file for file in FILES if file.name in ("settings.py", "roots.py")])


def test_files_and_functions_are_small() -> None:
    def rule(file: Path) -> Iterator[str]:
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 300:
            yield f"{lines} lines"
        yield from (f"{name} has {size} lines" for name, size in functions_of(file) if size > 40)

    assert not faults(rule)


def test_names_say_what_is_inside() -> None:
    assert not [file for file in FILES if BANNED_NAMES & {*file.relative_to(PACKAGE).with_suffix("").parts}]


def unsafe_calls(file: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(file)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name in (
            "eval",
            "exec",
            "__import__",
            "pickle.load",
            "pickle.loads",
            "yaml.load",
            "yaml.unsafe_load",
        ):
            yield f"line {node.lineno} calls {name}"
        if name == "torch.load" and keywords.get("weights_only") != "True":
            yield f"line {node.lineno}: torch.load without weights_only unpickles"
        if name == "np.load" and keywords.get("allow_pickle", "False") != "False":
            yield f"line {node.lineno}: np.load with allow_pickle unpickles"


def test_nothing_unpickles_or_evaluates() -> None:
    assert not faults(unsafe_calls)


def test_no_global_random_state() -> None:
    def rule(file: Path) -> Iterator[str]:
        if any(module.split(".")[0] == "random" for module, _, _ in imports_of(file)):
            yield "imports random"
        for node in ast.walk(tree_of(file)):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            # Classes make generators of their own; the functions of np.random share one.
            if re.match(r"np\.random\.(?!default_rng)[a-z]", name):
                yield f"calls {name}"

    assert not faults(rule)


def test_every_room_has_files() -> None:
    for folder in PACKAGE.iterdir():
        if folder.is_dir() and folder.name not in ("__pycache__", "conf"):
            assert [p for p in folder.rglob("*.py") if p.name != "__init__.py"], f"{folder.name} is empty"


def test_top_level_holds_what_the_plan_says() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tracked.returncode:
        pytest.skip("not a git checkout")
    found = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    assert found <= TOP_LEVEL, f"not in the plan: {sorted(found - TOP_LEVEL)}"


WATCHED_IMPORTS = """
import importlib, json, os, sys

wrong = []
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def watch(event, args):
    if event == "open":
        path, mode, flags = args
        written = isinstance(mode, str) and set(mode) & set("wax+") or (flags or 0) & WRITES
        if written and not str(path).endswith((".pyc", "/dev/null")) and "__pycache__" not in str(path):
            wrong.append(f"writes {path}")
    elif event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request"):
        wrong.append(event)

modules = json.loads(sys.argv[1])
third_party = ["torch", "torchio", "monai", "lightning", "wandb", "matplotlib.pyplot", "pandas", "hydra",
               "skimage", "sklearn", "SimpleITK", "numba", "rich", "jinja2", "scipy.ndimage"]
for name in third_party:  # what these do on import is theirs
    try:
        importlib.import_module(name)
    except ImportError:
        pass
import torch
threads = torch.get_num_threads()
sys.addaudithook(watch)
for name in modules:
    before = len(wrong)
    importlib.import_module(name)
    wrong[before:] = [f"{name} {line}" for line in wrong[before:]]
    if torch.cuda.is_initialized():
        wrong.append(f"{name} starts CUDA")
        break
if torch.get_num_threads() != threads:
    wrong.append("a module changes the number of threads")
print(json.dumps(wrong))
"""


def test_importing_every_module_does_nothing(tmp_path: Path) -> None:
    modules = [
        ".".join(("medseg", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for file in FILES
    ]
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED_IMPORTS, json.dumps(modules)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert not list(tmp_path.iterdir())
