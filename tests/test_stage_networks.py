"""Networks of single stages: a small student of a large teacher, starts from other networks."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from mtl_toolkit import ConfigError, load_config, load_stage, run
from mtl_toolkit.pipeline import DataSource, survey

SMALL = "{ type = 'timm', name = 'resnet10t', options = { channels = [4, 4, 4, 4], stem_width = 4 } }"
STUDENT = f"stages.student.backbone={SMALL}"
FIRST = "{ name = 'first', epochs = 1 }"


def problems(tiny, *overrides):
    config = load_config(tiny, overrides=overrides).config
    return survey(config, DataSource(config))[1]


def started(**keys):
    """A stage that trains, and one that starts from it and has these keys too."""
    more = "".join(f", {key} = {value}" for key, value in keys.items())
    return f"stages=[{FIRST}, {{ name = 'second', start_from = 'first'{more} }}]"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_text):
    """A run whose student is smaller than its teacher: (the TOML file, the run directory)."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "tiny.toml").write_text(tiny_text)
    loaded = load_config(folder / "tiny.toml", overrides=(STUDENT, "defaults.epochs=1"))
    run(loaded, folder / "run")
    return folder / "tiny.toml", folder / "run"


class TestASmallStudentOfALargeTeacher:
    def test_has_a_network_of_its_own(self, finished):
        teacher, student = (load_stage(finished[1] / name) for name in ("teacher", "student"))
        assert (teacher.model.trunk.num_features["va"], student.model.trunk.num_features["va"]) == (8, 4)

    def test_is_described_by_its_checkpoint_and_record(self, finished):
        for name, wanted in (("teacher", [4, 4, 8, 8]), ("student", [4, 4, 4, 4])):
            folder = finished[1] / name
            for file in (folder / "best/checkpoint.json", folder / "stage.json"):
                backbone = json.loads(file.read_text())["model"]["backbone"]
                assert backbone["options"]["channels"] == wanted

    def test_is_trained_again_if_it_changes_and_its_teacher_is_not(self, finished, tmp_path):
        config, directory = finished
        shutil.copytree(directory, tmp_path / "run")
        other = STUDENT.replace("[4, 4, 4, 4]", "[4, 4, 4, 6]")
        with pytest.raises(ConfigError) as refused:
            run(load_config(config, overrides=(other, "defaults.epochs=1")), tmp_path / "run")
        (line,) = refused.value.problems
        assert "run/student: was made otherwise" in line
        assert "model.backbone.options.channels[3]: 4 -> 6" in line

    def test_is_resolved_as_it_was_written(self, finished):
        written = load_config(finished[1] / "config.toml").config
        assert [stage.backbone is None for stage in written.trainings] == [True, False]

    def test_may_normalise_otherwise(self, finished, tmp_path):
        config, directory = finished
        overrides = (
            f"stages=[{{ name = 'pupil', teacher = '{directory / 'teacher'}', "
            "losses = [{ type = 'distillation', weight = 0.5 }] }]",
            "model.mean=[0.1, 0.2, 0.3]",
        )
        assert problems(config, *overrides) == []


def test_an_architecture_or_backbone_may_be_a_name_and_stand_in_the_defaults(kit, tmp_path):
    text = """
    name = "short"
    tasks.a.head = "binned"
    datasets.d = { type = "folder", path = "." }
    model.backbone = "net"
    defaults = { architecture = "shared", backbone = "net", streams = [{ dataset = "d", task = "a" }] }
    stages = [{ name = "one" }, { name = "two", backbone = { type = "net", name = "large" } }]
    """
    (tmp_path / "short.toml").write_text(text)
    stages = load_config(tmp_path / "short.toml", entry_points=kit.entry_points()).config.trainings
    assert [stage.architecture.name for stage in stages] == ["shared", "shared"]
    assert [stage.backbone.model for stage in stages] == ["small", "large"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ("model.backbone.name=resnet5000",),
            "model.backbone.name: timm has no model 'resnet5000'; did you mean 'resnet50'?",
        ),
        (
            ("stages.student.backbone={ type = 'timm', name = 'resnet5000' }",),
            "stages.student.backbone.name: timm has no model 'resnet5000'; did you mean 'resnet50'?",
        ),
    ],
)
def test_a_backbone_that_cannot_be_built_is_told_where_it_stands(tiny, overrides, line):
    assert problems(tiny, *overrides) == [line]


def test_what_fails_while_building_a_stages_own_backbone_is_told_there(tiny, tmp_path):
    wrong = "stages.teacher.backbone={ type = 'timm', name = 'resnet10t', options = { colour = 1 } }"
    with pytest.raises(ConfigError, match=r"^stages\.teacher\.backbone\.options: do not fit 'resnet10t'"):
        run(load_config(tiny, overrides=(wrong,)), tmp_path / "run")


PICKY = '''
from typing import ClassVar

import attrs

from mtl_toolkit import Architecture, hookimpl


@attrs.frozen(kw_only=True)
class Picky(Architecture):
    """For one task."""

    name: ClassVar[str] = "picky"

    def problems(self, tasks):
        return [] if len(tasks) == 1 else [f"must have one task (got {', '.join(tasks)})"]

    def build(self, backbone, tasks):
        raise NotImplementedError


@hookimpl
def mtl_architectures():
    return [Picky]
'''


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.architecture=picky", "model.architecture: must have one task (got expr, va)"),
        (
            "stages.student.architecture=picky",
            "stages.student.architecture: must have one task (got expr, va)",
        ),
    ],
)
def test_an_architecture_that_does_not_fit_the_tasks_is_told_where_it_stands(packages, tiny, override, line):
    packages.add("mtl-picky", {"picky": PICKY})
    assert problems(tiny, override) == [line]


class TestAStart:
    def test_from_another_network_is_refused_in_one_line(self, tiny):
        (line,) = problems(tiny, started(backbone=SMALL))
        assert line.startswith("stages.second: start_from 'first': must be the same network: tensor 'trunk.")
        assert re.search(r"must have shape \(4, 4, 3, 3\) \(got \(8, 4, 3, 3\)\), and \d+ more such$", line)

    def test_from_another_network_of_another_run_is_too(self, finished):
        config, directory = finished
        stage = f"stages=[{{ name = 'next', start_from = '{directory / 'student'}' }}]"
        (line,) = problems(config, stage)
        assert f"start_from {directory / 'student'}/best: must be the same network: tensor 'trunk." in line

    def test_from_heads_of_other_sizes_is_refused(self, finished):
        config, directory = finished
        stage = f"stages=[{{ name = 'next', start_from = '{directory / 'teacher'}' }}]"
        (line,) = problems(config, stage, "tasks.expr.head.hidden=4")
        assert "must be the same network: tensor 'heads.expr_head." in line
        assert "must have shape (4, 8) (got (8, 8))" in line

    def test_from_the_same_network_with_other_options_fits(self, tiny):
        frozen = "{ type = 'timm', name = 'resnet10t', freeze = 'batch-norm', "
        frozen += "options = { channels = [4, 4, 8, 8], stem_width = 4 } }"
        assert problems(tiny, started(backbone=frozen)) == []

    def test_from_a_network_that_normalises_otherwise_is_refused(self, finished):
        config, directory = finished
        stage = f"stages=[{{ name = 'next', start_from = '{directory / 'teacher'}' }}]"
        (line,) = problems(config, stage, "model.mean=[0.1, 0.2, 0.3]")
        assert "preprocessing mean is [0.485, 0.456, 0.406], the stage's [0.1, 0.2, 0.3]" in line


def test_a_stage_on_features_builds_no_network_of_its_own(tiny, mtl):
    stages = [
        "{ name = 'cnn' }",
        "{ name = 'features', kind = 'extract', network = 'cnn', datasets = ['a', 'b', 'val'] }",
        f"{{ name = 'late', features = 'features', backbone = {SMALL} }}",
    ]
    code, _, err = mtl("check", str(tiny), "--set", f"stages=[{', '.join(stages)}]")
    assert code == 2
    assert "stages.late.backbone: has no effect, since the stage works on features" in err
