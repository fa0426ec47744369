"""From words to checked values: every problem at once, nothing heavy, no secret, no side effect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from medseg.config.check import bind
from medseg.config.compose import compose
from medseg.config.folders import options
from medseg.config.verbs import VERBS
from medseg.errors import Problems

NEEDED = {
    "predict": ["model=m", "input=i", "output=o"],
    "evaluate": ["run=r"],
    "status": ["study=s"],
    "tune": ["run=r"],
    "compare": ["runs=[r]"],
    "sync": ["runs=[r]"],
}


def problems_of(*overrides: str, verb: str = "train", config_dirs: tuple[Path, ...] = ()) -> list[str]:
    return list(compose(verb, overrides, config_dirs).problems)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_composes_with_its_defaults(verb: str) -> None:
    composed = compose(verb, NEEDED.get(verb, []))
    assert composed.problems == ()
    assert bind(verb, composed.config)
    assert "hydra" not in composed.config


def test_settings_are_bound_with_their_types() -> None:
    bound = bind(
        "train",
        compose("train", ["optimizer.betas=[0.5,0.9]", "optimizer.lr=1", "inference.precision=32"]).config,
    )
    assert bound["optimizer"].betas == (0.5, 0.9)
    assert isinstance(bound["optimizer"].lr, float)
    assert bound["inference"].precision == "32"
    assert bound["network"]["_target_"] == "medseg.networks.unet.UNet"
    assert bound["name"] == bound["data"].name


def test_all_problems_come_in_one_sorted_message() -> None:
    with pytest.raises(Problems) as caught:
        compose(
            "train",
            [
                "optimizer.lr=hello", "optimizer.lr2=3", "optimizer.betas=[0.9,x]", "network.norm=instnce",
                "network.nrm=3", "loss=dise", "trainin.steps=5", "lr=3", "fold=-1", "seed=1,2",
                "split.folds=1", "data.labels.tumour=x", "inference.overlap=2", "=3", "nonsense",
            ],
        ).checked()  # fmt: skip
    lines = str(caught.value).splitlines()
    assert lines == sorted(lines)
    text = str(caught.value)
    for part in (
        "optimizer.lr: 'hello' is not a number",
        "optimizer.lr2: there is no such key; did you mean 'optimizer.lr'?",
        "optimizer.betas: [0.9, 'x'] is not a list of 2 numbers",
        "network.norm: 'instnce' is not one of instance, batch, group; did you mean instance?",
        "network: UNet has no option 'nrm'; did you mean 'norm'?",
        "loss: there is no 'dise'; did you mean dice?",
        "trainin.steps: there is no such key; did you mean 'training.steps'?",
        "lr: there is no such key; did you mean 'optimizer.lr'?",
        "fold: -1 is negative",
        "seed: 1,2 names several values; add -m",
        "'tumour': 'x'} is not a mapping to values, each an integer or a list of integers",
        "nonsense: is not KEY=VALUE",
        "=3: is not KEY=VALUE",
    ):
        assert part in text


def test_values_out_of_range_are_told_by_the_settings() -> None:
    found = problems_of("split.folds=1", "inference.overlap=2", "training.steps=0", "optimizer.lr=-1")
    assert [line.partition(":")[0] for line in found] == [
        "inference.overlap", "optimizer.lr", "split.folds", "training.steps",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("plan.patch_size=[33,33,33]", "plan.patch_size: [33, 33, 33] is not a multiple of [8, 8, 8]"),
        ("fold=5", "fold: 5 does not exist in a split of 5 folds"),
        ("plan.file=nowhere.yaml", "plan.file: nowhere.yaml is not a file"),
        ("loss=null", "loss: cannot be left out"),
        ("~network", "network: cannot be left out"),
        ("network=3", "network: there is no '3'"),
        ("seed.deep=3", "seed: {'deep': 3} is not an integer"),
        ("++anything=3", "anything: there is no such key"),
        (
            "data.phantom.casse=3",
            "data.phantom.casse: there is no such key; did you mean 'data.phantom.cases'?",
        ),
        ("data.phantom.cases=many", "data.phantom.cases: 'many' is not an integer"),
        ("data=nowhere", "data: there is no 'nowhere'"),
        ("optimizer=[adam,sgd]", "optimizer: "),
        ("hydra.searchpath=[pkg://os]", "hydra.searchpath: may not be set; use --config-dir DIR"),
        ("hydra.callbacks.x._target_=os.system", "hydra.callbacks.x._target_: may not be set"),
        ("hydra.job.env_set.LD_PRELOAD=x", "hydra.job.env_set.LD_PRELOAD: may not be set"),
        ("hydra.launcher._target_=os.system", "hydra.launcher._target_: 'os.system' is not on the list"),
        ("network._target_=os.system", "network._target_: os.system is not on the list of allowed targets"),
        ("data._target_=os.system", "data._target_: there is no such key"),
        ("+evil._target_=os.system", "evil._target_: there is no such key"),
        ("network.norm={_target_: os.system}", "network.norm._target_: os.system is not on the list"),
    ],
)
def test_one_wrong_word_is_one_line_at_least(override: str, line: str) -> None:
    found = problems_of(override)
    assert any(one.startswith(line) for one in found), found


def test_a_patch_that_fits_is_accepted() -> None:
    assert problems_of("plan.patch_size=[64,64,32]", "plan.spatial_dims=3") == []
    assert problems_of("plan.patch_size=[64,64]", "plan.spatial_dims=3") != []


def test_a_folder_alone_is_enough() -> None:
    config = compose("train", ["data.root=/scans/my (first) study"]).checked().config
    assert config["data"]["root"] == "/scans/my (first) study"
    assert config["data"]["phantom"] is None
    assert "data=folder" not in compose("train", ["data=folder", "data.root=x"]).overrides[1:]


@pytest.mark.parametrize(
    "override", ["name=${oc.env:SECRET_KEY}", "name=x${oc.env:SECRET_KEY}", "network=${oc.env:SECRET_KEY}"]
)
def test_the_environment_is_not_read(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    found = problems_of(override)
    assert found
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("network/own.yaml", "_target_: ${oc.env:SECRET_KEY}\n"),
        ("network/own.yaml", "_target_: medseg.networks.unet.UNet\nnorm: ${oc.env:SECRET_KEY}\n"),
        ("network/own.yaml", "defaults: [{/loss: '${oc.env:SECRET_KEY}'}]\n"),
        ("network/own.yaml", "# @package _global_\nhydra: {searchpath: ['${oc.env:SECRET_KEY}']}\n"),
    ],
)
def test_no_file_reads_the_environment(
    file: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(content)
    found = problems_of("network=own", config_dirs=(tmp_path,))
    assert found
    assert "hunter2" not in "".join(found)


def test_an_own_folder_of_choices(tmp_path: Path) -> None:
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "thin.yaml").write_text(
        "_target_: medseg.networks.unet.UNet\nconvs_per_level: 1\n"
    )
    composed = compose("train", ["network=thin", "network.dropout=0.1"], [tmp_path]).checked()
    assert composed.config["network"] == {
        "_target_": "medseg.networks.unet.UNet", "convs_per_level": 1, "dropout": 0.1,
    }  # fmt: skip
    assert problems_of("network=thn", config_dirs=(tmp_path,)) == [
        "network: there is no 'thn'; did you mean thin?"
    ]


def test_a_broken_experiment_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    header = "# @package _global_\ndefaults:\n  - override /"
    (tmp_path / "experiment" / "own.yaml").write_text(header + "network: unett\n")
    (line,) = problems_of("experiment=own", config_dirs=(tmp_path,))
    assert line.startswith("experiment=own: cannot be applied")
    assert line.endswith("did you mean unet?")
    (tmp_path / "experiment" / "own.yaml").write_text(header + "network: unet\noptimizer: {lrr: 1}\n")
    assert problems_of("experiment=own", config_dirs=(tmp_path,)) == [
        "optimizer.lrr: there is no such key; did you mean 'optimizer.lr'?"
    ]


BOMB = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, "aliases expand to more than"),
        ("_target_: [", "is not valid YAML"),
        (
            "# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}",
            "hydra.callbacks: may not be set",
        ),
        (
            "# @package _global_\nhydra: {job_logging: {handlers: {x: {(): os.system}}}}",
            "'os.system' is not on the list",
        ),
        ("# @package _global_\nhydra: {job: {env_set: {A: b}}}", "hydra.job.env_set: may not be set"),
        ("_target_: os.system\ncommand: touch evil", "network._target_: os.system"),
        ("# @package _global_\nsurprise: 1", "surprise: there is no such key"),
        ("- 1\n- 2", "network"),
    ],
)
def test_a_harmful_file_is_refused(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "own.yaml").write_text(content)
    found = problems_of("network=own", "optimizer.lr=x", config_dirs=(tmp_path,))
    assert any(reason in line for line in found), found
    assert any(line.startswith("optimizer.lr:") for line in found), "the other problems are told too"


def test_a_plan_file_is_read_before_anything_starts(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(BOMB)
    (line,) = problems_of(f"plan.file={plan}")
    assert "aliases expand" in line
    plan.write_text("spatial_dims: 4\n")
    found = problems_of(f"plan.file={plan}")
    assert len(found) > 3
    assert all(line.startswith("plan.file: ") for line in found)


def test_checking_loads_nothing_heavy(tmp_path: Path) -> None:
    code = dedent(
        """
        import sys
        from medseg.cli import main
        code = main(["train", "optimizer.lr=x", "network.nrm=1", "loss=dise", "network._target_=os.system"])
        assert code == 2, code
        assert main(["train", "--print"]) == 0
        heavy = {"torch", "lightning", "monai", "torchio", "pandas", "SimpleITK", "matplotlib", "wandb"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
    assert len(done.stderr.splitlines()) == 3


def test_every_option_of_every_group_has_its_file_checked() -> None:
    """The resolver that was taken away while composing is back afterwards."""
    from omegaconf import OmegaConf

    compose("train", [])
    assert OmegaConf.has_resolver("oc.env")
    assert options("network")
