"""The allow-list of targets, and what a spec is held against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg import targets
from medseg.errors import Problems, UserError

UNET = "medseg.networks.unet.UNet"

HOSTILE = [
    "os.system",
    "os.popen",
    "subprocess.run",
    "subprocess.Popen",
    "pathlib.Path.write_text",
    "pathlib.Path.unlink",
    "shutil.copyfile",
    "shutil.rmtree",
    "urllib.request.urlretrieve",
    "zipfile.ZipFile",
    "tarfile.open",
    "builtins.open",
    "builtins.eval",
    "builtins.exec",
    "builtins.__import__",
    "importlib.import_module",
    "torch.load",
    "torch.hub.load",
    "pickle.loads",
    "numpy.load",
    "yaml.unsafe_load",
    "hydra.utils.instantiate",
    "functools.partial",
    "medseg.files.write_text",
    "medseg.cli.main",
    "medseg.networks.unet.torch.save",
    "medseg.networks.unet.nn.Module",
    "medseg.networks.unet.Topology",
    "medseg.networks.unet.make_pyramid",
    "medseg.networks.unet.UNet.__init__",
    "medseg.networks.unet.UNet.encoder.__globals__",
    "medseg.networks..unet.UNet",
    "medseg.networks.../files.write_text",
    "medseg.networks.unet .UNet",
    "medseg.netw\u043erks.unet.UNet",
    "medseg.networks.unet.U\u039det",
    "medseg.Networks.unet.UNet",
    "medseg.fusion.early.EarlyFusion",
    "antigravity.geohash",
    "this.s",
    "",
    "UNet",
    ".unet.UNet",
    None,
    7,
    ["os", "system"],
    {"_target_": "os.system"},
]


@pytest.mark.parametrize("target", HOSTILE, ids=repr)
def test_hostile_targets_are_refused(target: object, tmp_path: Path) -> None:
    spec = {"_target_": target, "command": f"touch {tmp_path}/x", "path": f"{tmp_path}/x", "data": "x"}
    assert len(targets.problems(spec, "network", ["topology"])) == 1
    with pytest.raises(Problems):
        targets.build(spec, "network", f"{tmp_path}/x")
    assert not list(tmp_path.iterdir())


def test_refusing_imports_nothing(tmp_path: Path) -> None:
    """In a fresh process: no target's module is loaded, no file is written."""
    (tmp_path / "evil.py").write_text("open('written', 'w').close()\nclass Evil: ...\n")
    code = dedent(
        """
        import json, sys
        from medseg import targets
        from medseg.errors import Problems
        before = set(sys.modules)
        for target in [*json.loads(sys.argv[1]), "evil.Evil"]:
            for slot in targets.SLOTS:
                spec = {"_target_": target, "x": 1}
                assert targets.problems(spec, slot, ["topology"]), target
                try:
                    targets.build(spec, slot, 1)
                except Problems:
                    pass
                else:
                    raise SystemExit(f"{target} was built as {slot}")
        print(json.dumps(sorted(set(sys.modules) - before)))
        """
    )
    foreign = [t for t in HOSTILE if isinstance(t, str) and not t.startswith("medseg.fusion.early.Early")]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(foreign)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert not [
        n for n in loaded if n.split(".")[0] in ("torch", "evil", "antigravity", "hydra", "yaml", "this")
    ]
    assert not [name for name in loaded if name.startswith("medseg.") and "targets" not in name]
    assert [p.name for p in tmp_path.iterdir()] == ["evil.py"]


def test_a_spec_of_medseg_is_accepted_and_built() -> None:
    from medseg.contracts import Topology

    topology = Topology(2, (16, 16), ((1, 1), (2, 2)), ((3, 3), (3, 3)), (4, 8))
    spec = {"_target_": UNET, "norm": "batch", "dropout": 0}
    assert targets.problems(spec, "network", ["topology"]) == []
    network = targets.build(spec, "network", topology)
    assert type(network).__qualname__ == "UNet"
    assert network.layers.norm == "batch"
    assert isinstance(network.layers.dropout, float)


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            {"norm": "instnce"},
            "network.norm: 'instnce' is not one of instance, batch, group; did you mean instance?",
        ),
        ({"nrm": "batch"}, "network: UNet has no option 'nrm'; did you mean 'norm'?"),
        ({"dropout": "much"}, "network.dropout: 'much' is not a number"),
        ({"dropout": float("nan")}, "network.dropout: nan is not a number"),
        ({"convs_per_level": 2.5}, "network.convs_per_level: 2.5 is not an integer"),
        ({"convs_per_level": True}, "network.convs_per_level: True is not an integer"),
        ({"topology": 1}, "network.topology: is set by medseg itself; remove it"),
        ({"_partial_": True}, "network: UNet has no option '_partial_'"),
    ],
)
def test_each_wrong_option_has_a_line(spec: dict[str, object], line: str) -> None:
    found = targets.problems({"_target_": UNET, **spec}, "network", ["topology"])
    assert len(found) == 1
    assert found[0].startswith(line)


def test_all_problems_come_at_once() -> None:
    spec = {"_target_": UNET, "nrm": 1, "dropout": "x", "activation": "rellu"}
    assert len(targets.problems(spec, "network", ["topology"])) == 3


def test_a_misspelt_class_is_suggested() -> None:
    (line,) = targets.problems({"_target_": "medseg.networks.unet.Unet"}, "network", ["topology"])
    assert line.endswith("did you mean 'medseg.networks.unet.UNet'?")


def test_a_part_inside_an_option_obeys_the_list() -> None:
    spec = {"_target_": UNET, "norm": {"deep": [{"_target_": "os.system", "command": "true"}]}}
    found = targets.problems(spec, "network", ["topology"])
    assert any(line.startswith("network.norm.deep.0._target_: os.system") for line in found)


def test_a_class_that_does_not_fit_the_slot_is_refused() -> None:
    (line,) = targets.problems({"_target_": "medseg.networks.encoder.LevelEncoder"}, "network", ["topology"])
    assert "is no network" in line


def test_constants_are_read_from_the_source() -> None:
    assert targets.constants(UNET) == {"MODULAR": True, "DIMS": (2, 3)}
    assert targets.constants("medseg.networks.unet.Nothing") == {}


def test_parameters_of_settings_are_read_through_aliases() -> None:
    found = {p.name: p for p in targets.parameters("medseg.patches.settings.AugmentationSettings")}
    assert found["noise_std"].annotation == "tuple[float, float]"
    assert found["noise_std"].default == (0.0, 0.1)
    assert not found["noise_std"].required


@pytest.fixture
def own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's package that defines a network, and has other things in its name space."""
    package = tmp_path / "ownnets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(
        dedent(
            """
            import os
            import subprocess
            from os import system
            from typing import Literal

            class Own:
                MODULAR = False
                DIMS = (3,)
                def __init__(self, topology, norm: Literal["a", "b"] = "a", *, width: int = 8) -> None:
                    self.width = width

            def make(shape, width: int = 4) -> Own:
                return Own(shape, width=width)

            alias = os.system
            value = 3
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "ownnets"
    targets.admission._admitted.discard("ownnets")
    for name in [n for n in sys.modules if n.split(".")[0] == "ownnets"]:
        del sys.modules[name]


def test_a_foreign_package_must_be_admitted_by_name(own_package: str) -> None:
    spec = {"_target_": "ownnets.nets.Own", "width": 5}
    (line,) = targets.problems(spec, "network", ["topology"])
    assert line.endswith("add --allow ownnets")
    assert "ownnets" not in sys.modules
    targets.allow(own_package)
    assert targets.problems(spec, "network", ["topology"]) == []
    assert targets.build(spec, "network", None).width == 5
    assert targets.build({"_target_": "ownnets.nets.make"}, "network", None).width == 4
    assert targets.constants("ownnets.nets.Own")["MODULAR"] is False


def test_the_environment_admits_too(own_package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_ALLOW", f"{own_package}, other")
    assert targets.problems({"_target_": "ownnets.nets.Own"}, "network", ["topology"]) == []
    targets.admission._admitted.discard("other")


@pytest.mark.parametrize(
    "name",
    ["nets.os.system", "nets.system", "nets.alias", "nets.value", "nets.subprocess.run", "nets.Own.__init__"],
)
def test_an_admitted_package_lends_its_name_to_nothing_else(own_package: str, name: str) -> None:
    targets.allow(own_package)
    assert len(targets.problems({"_target_": f"ownnets.{name}"}, "network", ["topology"])) == 1
    with pytest.raises(Problems):
        targets.build({"_target_": f"ownnets.{name}"}, "network", "true")


def test_options_of_a_foreign_class_are_checked(own_package: str) -> None:
    targets.allow(own_package)
    found = targets.problems(
        {"_target_": "ownnets.nets.Own", "norm": "c", "widht": 3}, "network", ["topology"]
    )
    assert found == [
        "network.norm: 'c' is not one of a, b",
        "network: Own has no option 'widht'; did you mean 'width'?",
    ]


@pytest.mark.parametrize(
    "package", ["os", "subprocess", "medseg", "medseg.files", "builtins", "a/b", "", "..", "ö"]
)
def test_some_packages_cannot_be_admitted(package: str) -> None:
    with pytest.raises(UserError):
        targets.allow(package)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [1, -3], [1.0, True, "1", None, [1]]),
        ("float", [1, 1.5, float("inf")], [True, "1", None, float("nan")]),
        ("bool", [True], [1, "true", None]),
        ("str", ["x", 32], [1.5, None, True, ["x"]]),
        ("int | None", [1, None], ["x", 1.5]),
        ("Optional[typing.Literal['a', 'b']]", ["a", None], ["c", 1]),
        ("Literal[1, 2]", [1], [3, "1", True]),
        ("list[int]", [[], [1, 2]], [1, ["x"], None]),
        ("Sequence[float]", [[1, 2.5], (1,)], ["ab", [None]]),
        ("tuple[int, ...]", [[1, 2, 3], []], [[1.5], 3]),
        ("tuple[float, float]", [[1, 2]], [[1], [1, 2, 3], 1]),
        ("dict[str, list[int]]", [{"a": [1]}], [{"a": 1}, [1]]),
        ("Union[int, list[int]]", [1, [1]], ["x", [None]]),
        ("Annotated[int, 'voxels']", [1], ["x"]),
        ("torch.Tensor", [object(), 1, "x"], []),
        (None, [object(), None], []),
    ],
)
def test_annotations(annotation: str | None, good: list[object], bad: list[object]) -> None:
    for value in good:
        assert targets.mismatch(value, annotation) is None
    for value in bad:
        assert " is not " in str(targets.mismatch(value, annotation))


def test_conversion() -> None:
    assert targets.converted([1, 2], "tuple[float, ...]") == (1.0, 2.0)
    assert targets.converted({"a": [1]}, "dict[str, tuple[int, ...]] | None") == {"a": (1,)}
    assert targets.converted([1, 2], "list[int]") == [1, 2]
    assert targets.converted(32, "str") == "32"
    assert targets.converted(32, "int | str") == 32


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(
    value=PLAIN,
    annotation=st.sampled_from(
        ["int", "float | None", "list[int]", "dict[str, float]", "tuple[int, int] | str"]
    ),
)
def test_what_fits_still_fits_after_conversion(value: object, annotation: str) -> None:
    if targets.mismatch(value, annotation) is None:
        assert targets.mismatch(targets.converted(value, annotation), annotation) is None


@settings(deadline=None, max_examples=100)
@given(target=st.text(alphabet=st.sampled_from("medsgntworkuUNet._/\u043e "), max_size=40))
def test_no_other_text_is_a_target(target: str) -> None:
    known = targets.targets_of("network")
    assert (targets.refusal(target, "network") is None) == (target in known)


@settings(deadline=None, max_examples=100)
@given(spec=st.dictionaries(st.text(max_size=8) | st.just("norm"), PLAIN, max_size=4))
def test_any_plain_options_are_answered_with_lines(spec: dict[str, object]) -> None:
    found = targets.problems({**spec, "_target_": UNET}, "network", ["topology"])
    assert all(isinstance(line, str) for line in found)
