"""The command line: help without heavy imports, errors in one line, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medseg import __version__
from medseg.cli import main
from medseg.config.verbs import VERBS


def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import sys; from medseg.cli import main; sys.exit(main())", *words],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from medseg.cli import main; assert main(sys.argv[1:]) == 0; "
        "heavy = {'hydra', 'omegaconf', 'yaml', 'torch', 'numpy', 'rich', 'dataclasses'}; "
        "print(sorted(set(sys.modules) & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "usage: medseg" in done.stdout


def test_help_lists_every_verb_group_and_choice(capsys: pytest.CaptureFixture[str]) -> None:
    from medseg.config.folders import options, read_root

    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for group in read_root("train").defaults:
        assert group in text
        assert all(name in text for name in options(group))
    assert "[0]" in text  # a default


def test_help_of_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", "network"]) == 0
    assert "network=unet" in capsys.readouterr().out
    assert main(["train", "--help", "netwerk"]) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"medseg {__version__}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "trian: is not a verb of medseg; did you mean 'train'?"),
        (["zzz"], "zzz: is not a verb of medseg; choose one of"),
        (["train", "--wat"], "--wat: is not a flag of medseg"),
        (["train", "--allow"], "--allow: needs a value"),
        (["train", "--allow", "os"], "--allow: 'os' cannot be admitted"),
        (["train", "--config-dir", "nowhere"], "--config-dir: nowhere is not a folder"),
        (["train", "optimizer.lr=hello"], "optimizer.lr: 'hello' is not a number"),
        (
            ["train", "-m", "optimizer.lr=1,hello"],
            "optimizer.lr: 'hello' is not a number (in optimizer.lr=hello)",
        ),
    ],
)
def test_bad_input_is_a_line_and_exit_code_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(line)


def test_nothing_is_left_behind_by_a_refused_command(tmp_path: Path) -> None:
    done = run("train", "-m", "optimizer.lr=x,y", "network._target_=pathlib.Path.write_text", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_print_shows_the_whole_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--print", "seed=7", "optimizer=sgd"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["seed"] == 7
    assert shown["optimizer"]["name"] == "sgd"
    assert shown["name"] == shown["data"]["name"]


def test_print_of_a_sweep_shows_every_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", "--print", "seed=0,1", "optimizer=adam,sgd"]) == 0
    shown = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [(job["seed"], job["optimizer"]["name"]) for job in shown] == [
        (0, "adam"), (0, "sgd"), (1, "adam"), (1, "sgd"),
    ]  # fmt: skip


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    import medseg.config.run

    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(medseg.config.run, "run", interrupted)
    assert main(["train"]) == 130
