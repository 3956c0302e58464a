"""A stranger's packages, built as wheels and installed, bring plugins that a TOML file then uses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.environments import Environment, build_wheels

ROOT = Path(__file__).parents[1]
DOTS = ROOT / "examples" / "third_party_plugin"  # the distribution mtl-dots

AGREEMENT = '''
"""Another way to learn from a teacher."""

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from mtl_toolkit import Head, HeadOutput, TeacherLoss, hookimpl


@attrs.frozen(kw_only=True)
class Agreement(TeacherLoss):
    """Minus exp(-squared distance of the logits): from -1 to 0, where a divergence is never negative."""

    name: ClassVar[str] = "distillation"

    def build(self, head: Head):
        def loss(output: HeadOutput, teacher: HeadOutput, mask: Tensor) -> Tensor:
            rows = mask.any(1)
            distance = (output.values - teacher.values)[rows].square().flatten(1).mean(1)
            return -torch.exp(-distance).sum() / rows.sum().clamp(min=1)

        return loss


@hookimpl
def mtl_losses():
    return [Agreement]
'''

STUDENT = """
[[stages]]
name = "student"
epochs = 1
teacher = "count"
losses = [{ type = "distillation", weight = 0.4 }]
streams = [{ dataset = "train", task = "dots", batch_size = 32 }]
validation = [{ dataset = "test", task = "dots" }]
"""

DISABLE = """
[plugins]
disable = ["mtl-distill:distillation"]
"""


def write_package(folder: Path, version: str, entry_point: str, source: str) -> Path:
    """The sources of a distribution, called as its folder, with one module."""
    module = folder.name.replace("-", "_")
    folder.mkdir()
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    (folder / "pyproject.toml").write_text(
        f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{folder.name}"
version = "{version}"
dependencies = ["mtl-std", "mtl-toolkit"]

[project.entry-points.mtl_toolkit]
{entry_point} = "{module}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
""",
        encoding="utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Three packages of strangers, installed from their wheels; one of them cannot be imported."""
    folder = tmp_path_factory.mktemp("third-party")
    packages = [
        DOTS,
        write_package(folder / "acme-agreement", "0.3", "distillation", AGREEMENT),
        write_package(folder / "acme-broken", "1.0", "broken", "import nowhere_to_be_found\n"),
    ]
    environment = Environment(folder / "environment")
    environment.install(*build_wheels(folder / "wheels", *packages))
    return environment


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The example of mtl-dots, in a folder of its own."""
    return Path(shutil.copy(DOTS / "example.toml", tmp_path))


def read_report(folder: Path) -> Mapping[str, object]:
    return json.loads((folder / "runs" / "dots" / "report.json").read_text(encoding="utf-8"))


def read_terms(folder: Path, stage: str, term: str) -> list[float]:
    """A loss term's value in every step of a stage."""
    text = (folder / "runs" / "dots" / stage / "log.jsonl").read_text(encoding="utf-8")
    return [line["losses"][term] for line in map(json.loads, text.splitlines()) if "step" in line]


def test_a_toml_file_uses_an_installed_head_loss_dataset_and_hook(installed, job):
    """A broken package beside them, and two that bring the same loss, do not matter to it."""
    done = installed.mtl(job.parent, "run", job.name, "--set", "trainer.log_every=1")
    assert done.returncode == 0, done.stderr
    report = read_report(job.parent)
    (stage,) = report["stages"]
    assert list(stage["metrics"]) == ["test/dots/ccc"]
    assert report["versions"]["mtl-dots"] == "1.2.0"
    assert len(read_terms(job.parent, "count", "train/dots/ground-truth")) == 2 * 256 // 32
    assert f"count {stage['best_epoch']} test/dots/ccc={stage['metrics']['test/dots/ccc']:.3f}" in done.stdout


def test_its_own_tests_pass_where_its_wheel_is_installed(installed, tmp_path):
    """Without its sources beside them, so that it is the installed code that they test."""
    shutil.copytree(DOTS / "tests", tmp_path / "tests")
    for name in ("pyproject.toml", "example.toml"):
        shutil.copy(DOTS / name, tmp_path)
    done = installed.run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_are_listed_with_their_distribution_and_version(installed, tmp_path):
    done = installed.mtl(tmp_path, "plugins", "--json")
    assert done.returncode == 0, done.stderr
    ours = ("acme-agreement", "acme-broken", "mtl-dots")
    rows = [row for row in json.loads(done.stdout) if row["distribution"] in ours]
    facts = [(row["kind"], row["name"], row["distribution"], row["version"]) for row in rows]
    assert facts == [
        ("dataset", "dots", "mtl-dots", "1.2.0"),
        ("head", "count", "mtl-dots", "1.2.0"),
        ("hooks", "print-epochs", "mtl-dots", "1.2.0"),
        ("loss", "distillation", "acme-agreement", "0.3"),
        ("loss", "poisson", "mtl-dots", "1.2.0"),
        (None, None, "acme-broken", "1.0"),
    ]
    assert rows[-1]["error"] == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"


class TestTwoLossesOfOneName:
    def test_stop_a_run_that_needs_it_and_name_both_packages(self, installed, job):
        job.write_text(job.read_text(encoding="utf-8") + STUDENT, encoding="utf-8")
        done = installed.mtl(job.parent, "run", job.name)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: example.toml: stages.student.losses[0].type: loss 'distillation'")
        assert "acme-agreement:distillation 0.3" in line
        assert "mtl-distill:distillation" in line
        assert not (job.parent / "runs").exists()

    def test_are_settled_by_switching_one_off(self, installed, job):
        job.write_text(job.read_text(encoding="utf-8") + STUDENT + DISABLE, encoding="utf-8")
        done = installed.mtl(job.parent, "run", job.name, "--set", "trainer.log_every=1")
        assert done.returncode == 0, done.stderr
        terms = read_terms(job.parent, "student", "train/dots/distillation")
        assert len(terms) == 256 // 32
        assert all(-1 <= value < 0 for value in terms)
        assert "acme-agreement" in {plugin["distribution"] for plugin in read_report(job.parent)["plugins"]}
