"""What a user who gets something wrong is told: a line per problem on standard error, and the exit code."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

CONFIG = """
name = "small"

[trainer]
device = "cpu"
threads = 1

[tasks.expr]
head = { type = "expression", hidden = 8 }

[datasets.train]
type = "synthetic-faces"
samples = 32
labels = ["expression"]

[datasets.val]
type = "synthetic-faces"
samples = 16
seed = 1
labels = ["expression"]

[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [8, 8, 8, 8], stem_width = 8 } }

[[stages]]
name = "one"
epochs = 1
streams = [{ dataset = "train", task = "expr", batch_size = 16 }]
validation = [{ dataset = "val", task = "expr" }]
"""

DATASETS = "there are: train, val"
METRICS = "there are: val/expr/accuracy, val/expr/macro_f1, val/expr/score"


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound configuration, small.toml, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def refused(mtl):
    """Run a command that must be refused before it does anything; the lines on standard error."""

    def run(command: str) -> list[str]:
        code, output, errors = mtl(*shlex.split(command))
        assert (code, output) == (2, "")
        assert not Path("runs").exists()
        return errors.splitlines()

    return run


class TestUsage:
    def test_no_command_shows_the_help(self, refused):
        lines = refused("")
        assert lines[0] == "Usage: mtl [OPTIONS] COMMAND [ARGS]..."
        assert "  run         Train the stages of a configuration." in lines

    @pytest.mark.parametrize(
        ("command", "line"),
        [
            ("rnu", "Error: no such command 'rnu'; did you mean 'run'?"),
            (
                "train",
                "Error: no such command 'train'; there are: "
                "check, data, evaluate, plugin, plugins, predict, run, submission",
            ),
            ("run", "Error: Missing argument 'CONFIG'."),
            ("check", "Error: Missing argument 'CONFIG'."),
            ("data preview", "Error: Missing argument 'CONFIG'."),
            ("check small.toml other.toml", "Error: Got unexpected extra argument (other.toml)"),
            (
                "data preview small.toml -o sheet.xyz",
                "Error: Invalid value for '-o' / '--output': "
                "must end in .png, .jpg, .pdf, .svg (got 'sheet.xyz')",
            ),
        ],
    )
    def test_wrong_usage_is_told_under_the_right_one(self, refused, command, line):
        lines = refused(command)
        assert lines[0].startswith("Usage: mtl ")
        assert lines[-1] == line


class TestLines:
    @pytest.mark.parametrize("command", ["run", "check"])
    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ("nosuch.toml", "nosuch.toml: no such file"),
            (".", ".: cannot be read: Is a directory"),
            ("small.toml --set nonsense", "--set nonsense: must be KEY.PATH=VALUE"),
            ("small.toml --set =3", "--set =3: must be KEY.PATH=VALUE"),
            (
                "small.toml --set stages.two.epochs=3",
                "--set stages.two.epochs=3: stages.two: no such item; there are: one",
            ),
            (
                "small.toml --set stages.one.epohcs=3",
                "small.toml: stages.one.epohcs: unknown key; did you mean 'epochs'?",
            ),
            (
                "small.toml --set stages.one.epochs=many",
                "small.toml: stages.one.epochs: must be a whole number (got 'many')",
            ),
            ("small.toml --set model=3", "small.toml: model: must be a table { ... } (got 3)"),
            ("small.toml --set name.x=3", "small.toml: name: must be a string (got a table)"),
            (
                "small.toml --set datasets.train.type=synthetic-facs",
                "small.toml: datasets.train.type: unknown dataset 'synthetic-facs'; "
                "did you mean 'synthetic-faces'?",
            ),
            (
                "small.toml --set stages.one.validation.val.dataset=vla",
                "small.toml: stages.one.validation[0].dataset: unknown dataset 'vla'; did you mean 'val'?",
            ),
            (
                "small.toml --set stages.one.select.f1=1",
                f"small.toml: stages.one.select.f1: is no metric of this stage; {METRICS}",
            ),
            (
                """small.toml --set 'stages.one.losses=["distillation"]'""",
                "small.toml: stages.one.losses: 'distillation' compares with a teacher, "
                "but the stage names none",
            ),
            (
                """small.toml --set 'stages.one.losses=["distillation"]' --set stages.one.teacher=nosuch""",
                "small.toml: stages.one.teacher: no earlier stage or checkpoint 'nosuch'; there are none",
            ),
            (
                "small.toml --disable-plugin mtl-affect:expression",
                "small.toml: tasks.expr.head.type: unknown head 'expression'; did you mean 'regression'? "
                "(mtl-affect:expression is disabled)",
            ),
            (
                "small.toml --disable-plugin mtl-affect:expresion",
                "--disable-plugin mtl-affect:expresion: no installed plugin 'mtl-affect:expresion' "
                "(written as distribution:entry-point); did you mean 'mtl-affect:expression'?",
            ),
            (
                "small.toml --set model.backbone.name=resnet5000",
                "model.backbone.name: timm has no model 'resnet5000'; did you mean 'resnet50'?",
            ),
            (
                "small.toml --set stages.one.optimizer.type=Adamm",
                "stages.one.optimizer.type: torch has no optimizer 'Adamm'; did you mean 'Adam'?",
            ),
        ],
    )
    def test_a_problem_is_one_line(self, mtl, command, arguments, line):
        code, _, errors = mtl(command, *shlex.split(arguments))
        assert (code, errors) == (2, f"error: {line}\n")
        assert not Path("runs").exists()

    @pytest.mark.parametrize(
        ("command", "line"),
        [
            ("run small.toml --fresh nosuch", "--fresh nosuch: no such stage; there are: one"),
            ("plugins expression", "'expression' must be KIND/NAME, as `mtl plugins` lists them"),
            ("plugins heads/expression", "unknown kind of plugin 'heads'; did you mean 'head'?"),
            ("plugins head/expresion", "unknown head 'expresion'; did you mean 'expression'?"),
            ("data preview nosuch.toml", "nosuch.toml: no such file"),
            ("data preview small.toml", f"small.toml: name the DATASET to draw; {DATASETS}"),
            ("data preview small.toml test", f"small.toml: unknown dataset 'test'; {DATASETS}"),
            (
                "data preview small.toml val --by va",
                "--by va: the dataset has no labels of it; there are: expr",
            ),
            ("data inspect small.toml test", f"small.toml: unknown dataset 'test'; {DATASETS}"),
            (
                "data inspect synthetic-fcaes",
                "unknown dataset 'synthetic-fcaes'; did you mean 'synthetic-faces'?",
            ),
            (
                "data preview synthetic-fcaes",
                "unknown dataset 'synthetic-fcaes'; did you mean 'synthetic-faces'?",
            ),
            (
                "data preview synthetic-faces --set sample=9",
                "sample: unknown key; did you mean 'samples'?",
            ),
        ],
    )
    def test_so_it_is_in_the_other_commands(self, refused, command, line):
        assert refused(command) == [f"error: {line}"]

    def test_all_problems_of_the_file_are_told_in_its_order(self, refused):
        wrong = ("stages.one.epochs=0", "datasets.val.seed=x", "nmae=1", "tasks.expr.head.hiden=8")
        assert refused(f"check small.toml --set {' --set '.join(wrong)}") == [
            "error: small.toml: tasks.expr.head.hiden: unknown key; did you mean 'hidden'?",
            "error: small.toml: datasets.val.seed: must be a whole number (got 'x')",
            "error: small.toml: stages.one.epochs: must be at least 1 (got 0)",
            "error: small.toml: nmae: unknown key; did you mean 'name'?",
        ]

    @pytest.mark.parametrize(
        "setting",
        [
            "--device gpu",
            pytest.param(
                "--device cuda",
                marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
            ),
            "--output small.toml",
            "--output small.toml/run",
        ],
    )
    def test_a_device_or_folder_that_is_not_to_be_had_is_wrong_usage(self, refused, setting):
        (line,) = refused(f"run small.toml {setting}")
        assert line.startswith("error: ")


TABLE = """
[datasets.{name}]
type = "image-csv"
csv = "{name}.csv"
labels = {{ letter = {{ column = "letter" }} }}
"""


class TestCheck:
    @pytest.fixture
    def letters(self, small):
        """Pictures of two classes whose names a terminal might take for formatting; none is there."""
        head, _, rest = CONFIG.partition("[datasets.train]")
        rest = rest.partition("[model]")[2].replace("expr", "letter")
        task = '[tasks.letter]\nhead = { type = "classification", classes = ["[red]", "[/b]"] }\n'
        tables = "".join(TABLE.format(name=name) for name in ("train", "val"))
        small.write_text(f"{head.partition('[tasks')[0]}{task}{tables}\n[model]{rest}", encoding="utf-8")
        for name in ("train", "val"):
            rows = [f"{name}/[{number}].png,{letter}" for number, letter in enumerate(("[red]", "[/b]"))]
            Path(f"{name}.csv").write_text("\n".join(["file,letter", *rows, ""]), encoding="utf-8")

    def test_tells_problems_of_options_network_and_data_together(self, refused, letters):
        for name in ("train", "val"):
            Path(f"{name}.csv").unlink()
        wrong = "--set model.backbone.name=resnet5000 --set stages.one.scheduler.type=Step"
        assert [line.partition(":")[2].split(":")[0] for line in refused(f"check small.toml {wrong}")] == [
            " stages.one.scheduler.type",
            " model.backbone.name",
            " datasets.train",
            " datasets.val",
        ]

    def test_shows_the_data_as_it_is_before_it_refuses_it(self, mtl, letters):
        code, output, errors = mtl("check", "small.toml")
        assert code == 2
        assert "one: 1 step an epoch" in output
        assert "[red] 1, [/b] 1" in output
        here = Path.cwd()
        assert errors.splitlines() == [
            f"error: {name}: {here.name}/{name}.csv line {number + 2}: "
            f"there is no picture {name}/[{number}].png in {here}"
            for name in ("train", "val")
            for number in (0, 1)
        ]

    def test_shows_an_overlap_that_is_allowed(self, mtl):
        overlap = "training stream 'train' and validation 'val' share 4 groups"
        code, _, errors = mtl("check", "small.toml", "--set", "datasets.val.seed=0")
        assert code == 2
        assert errors.startswith(f"error: stages.one: {overlap}")
        allowed = ("--set", "stages.one.allow_overlap=true")
        code, output, errors = mtl("check", "small.toml", "--set", "datasets.val.seed=0", *allowed)
        assert (code, errors) == (0, "")
        assert f"allowed overlap: {overlap}" in output


class TestTraceback:
    def test_an_expected_error_shows_it_on_request_before_its_line(self, mtl):
        code, _, errors = mtl("run", "nosuch.toml", "--traceback")
        assert code == 2
        assert errors.startswith("Traceback (most recent call last):\n")
        assert errors.endswith("\nerror: nosuch.toml: no such file\n")

    def test_a_bug_keeps_its_own(self, mtl, monkeypatch):
        monkeypatch.setattr("mtl_toolkit.config.load_config", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            mtl("check", "small.toml")

    def test_ctrl_c_leaves_with_130(self, mtl, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("mtl_toolkit.config.load_config", interrupted)
        assert mtl("check", "small.toml") == (130, "", "\ninterrupted\n")
