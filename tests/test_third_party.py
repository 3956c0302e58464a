"""A stranger's packages, built as wheels and installed, bring plugins that a TOML file then uses."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

STRIPES = '''
"""Which way stripes run: a dataset, a head and a loss."""

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
import torch.nn.functional as F
from mtl_std.metrics import Accuracy
from torch import Tensor, nn
from torch.distributions import Categorical

from mtl_toolkit import (
    DataFacts, Dataset, Head, HeadOutput, Labels, Loss, Metric, Samples, TensorSamples, hookimpl,
)
from mtl_toolkit.validators import at_least


@attrs.frozen(kw_only=True)
class Stripes(Dataset):
    """Pictures of stripes, drawn in memory."""

    name: ClassVar[str] = "stripes"
    samples: int = attrs.field(default=64, validator=at_least(1), metadata={"doc": "number of pictures"})
    seed: int = 0

    def build(self, facts: DataFacts) -> Samples:
        random = np.random.default_rng(self.seed)
        ways = random.integers(2, size=self.samples)
        size = facts.image_size
        across = np.tile(np.arange(size) // 2 % 2 * 200, (size, 1))
        pictures = np.where(ways[:, None, None] == 0, across, across.T)
        pictures = pictures + random.integers(56, size=pictures.shape)
        inputs = torch.from_numpy(pictures.astype(np.uint8))[:, None].repeat(1, 3, 1, 1)
        tasks = [task for task, head in facts.tasks.items() if head.label == "way"]
        return TensorSamples(inputs, {task: torch.from_numpy(ways) for task in tasks})


class LinearWay(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.last = nn.Linear(features, 2)

    def forward(self, features: Tensor) -> HeadOutput:
        return HeadOutput(self.last(features), features)


@attrs.frozen(kw_only=True)
class Way(Head):
    """Across or along."""

    name: ClassVar[str] = "way"
    units = ("way",)
    target_shape = ()
    target_dtype = np.dtype(np.int64)

    def meaning(self) -> dict[str, Any]:
        return {"kind": "way", "classes": ["across", "along"]}

    def check_labels(self, labels: Labels) -> str | None:
        return None

    def build(self, features: int) -> nn.Module:
        return LinearWay(features)

    def estimate(self, values: Tensor) -> Tensor:
        return values.argmax(-1)

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Categorical:
        return Categorical(logits=values[:, None] / temperature)

    def default_losses(self) -> tuple[Loss, ...]:
        return (Focal(),)

    def default_metrics(self) -> tuple[Metric, ...]:
        return (Accuracy(),)

    def default_selection(self) -> Mapping[str, float]:
        return {"accuracy": 1.0}


@attrs.frozen(kw_only=True)
class Focal(Loss):
    """Focal cross-entropy (Lin et al., 2017)."""

    name: ClassVar[str] = "focal"
    gamma: float = attrs.field(default=2.0, validator=at_least(0))

    def build(self, head: Head):
        def loss(output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
            logits = torch.where(mask[:, None], output.values, 0.0)
            likelihood = F.log_softmax(logits, -1).gather(1, torch.where(mask, target, 0)[:, None])[:, 0]
            losses = -((1 - likelihood.exp()) ** self.gamma) * likelihood
            return (losses * mask).sum() / mask.sum().clamp(min=1)

        return loss


@hookimpl
def mtl_datasets():
    return [Stripes]


@hookimpl
def mtl_heads():
    return [Way]


@hookimpl
def mtl_losses():
    return [Focal]
'''

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

CONFIG = """
name = "stripes"

[trainer]
device = "cpu"
threads = 1
log_every = 1

[tasks.way]
head = { type = "way" }
losses = [{ type = "focal", gamma = 1.5 }]

[datasets.train]
type = "stripes"
samples = 64
seed = 1

[datasets.validation]
type = "stripes"
samples = 32
seed = 2

[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [8, 8, 8, 8], stem_width = 8 } }

[defaults]
epochs = 1
streams = [{ dataset = "train", task = "way", batch_size = 16 }]
validation = [{ dataset = "validation", task = "way" }]

[[stages]]
name = "teacher"
"""

STUDENT = """
[[stages]]
name = "student"
teacher = "teacher"
losses = [{ type = "distillation", weight = 0.4 }]
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


class Environment:
    """A virtual environment that sees the packages of the one the tests run in, and has its own too."""

    def __init__(self, folder: Path) -> None:
        succeed(sys.executable, "-m", "venv", "--without-pip", str(folder))
        scheme = {"base": str(folder), "platbase": str(folder)}
        self.python = Path(sysconfig.get_path("scripts", "venv", scheme)) / Path(sys.executable).name
        # A folder named in a .pth file is only put on the path; addsitedir also reads the .pth files in it,
        # by which editable packages are found.
        outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        lines = [f"import site; site.addsitedir({path!r})" for path in sorted(outer)]
        link = Path(sysconfig.get_path("purelib", "venv", scheme)) / "outer.pth"
        link.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def install(self, wheels: list[Path]) -> None:
        pip("--python", str(self.python), "install", "--no-deps", "--no-index", *map(str, wheels))

    def mtl(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a folder."""
        return run(str(self.python), "-m", "mtl_toolkit", *arguments, folder=folder)


def run(*command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def succeed(*command: str) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def pip(*arguments: str) -> None:
    succeed(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Three packages of strangers, installed from their wheels; one of them cannot be imported."""
    folder = tmp_path_factory.mktemp("third-party")
    packages = [
        write_package(folder / "acme-stripes", "2.1", "stripes", STRIPES),
        write_package(folder / "acme-agreement", "0.3", "distillation", AGREEMENT),
        write_package(folder / "acme-broken", "1.0", "broken", "import nowhere_to_be_found\n"),
    ]
    wheels = folder / "wheels"
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels), *map(str, packages))
    environment = Environment(folder / "environment")
    environment.install(sorted(wheels.glob("*.whl")))
    return environment


def read_report(folder: Path) -> Mapping[str, object]:
    return json.loads((folder / "runs" / "stripes" / "report.json").read_text(encoding="utf-8"))


def read_terms(folder: Path, stage: str, term: str) -> list[float]:
    """A loss term's value in every step of a stage."""
    text = (folder / "runs" / "stripes" / stage / "log.jsonl").read_text(encoding="utf-8")
    return [line["losses"][term] for line in map(json.loads, text.splitlines()) if "step" in line]


def test_a_toml_file_uses_an_installed_head_loss_and_dataset(installed, tmp_path):
    """A broken package beside them, and two that bring the same loss, do not matter to it."""
    (tmp_path / "stripes.toml").write_text(CONFIG, encoding="utf-8")
    done = installed.mtl(tmp_path, "run", "stripes.toml")
    assert done.returncode == 0, done.stderr
    report = read_report(tmp_path)
    assert list(report["stages"][0]["metrics"]) == ["validation/way/accuracy"]
    assert report["versions"]["acme-stripes"] == "2.1"
    assert len(read_terms(tmp_path, "teacher", "train/way/ground-truth")) == 64 // 16


def test_they_are_listed_with_their_distribution_and_version(installed, tmp_path):
    done = installed.mtl(tmp_path, "plugins", "--json")
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout) if row["distribution"].startswith("acme-")]
    facts = [(row["kind"], row["name"], row["distribution"], row["version"]) for row in rows]
    assert facts == [
        ("dataset", "stripes", "acme-stripes", "2.1"),
        ("head", "way", "acme-stripes", "2.1"),
        ("loss", "distillation", "acme-agreement", "0.3"),
        ("loss", "focal", "acme-stripes", "2.1"),
        (None, None, "acme-broken", "1.0"),
    ]
    assert rows[-1]["error"] == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"


class TestTwoLossesOfOneName:
    def test_stop_a_run_that_needs_it_and_name_both_packages(self, installed, tmp_path):
        (tmp_path / "stripes.toml").write_text(CONFIG + STUDENT, encoding="utf-8")
        done = installed.mtl(tmp_path, "run", "stripes.toml")
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: stripes.toml: stages.student.losses[0].type: loss 'distillation'")
        assert "acme-agreement:distillation 0.3" in line
        assert "mtl-distill:distillation" in line
        assert not (tmp_path / "runs").exists()

    def test_are_settled_by_switching_one_off(self, installed, tmp_path):
        (tmp_path / "stripes.toml").write_text(CONFIG + STUDENT + DISABLE, encoding="utf-8")
        done = installed.mtl(tmp_path, "run", "stripes.toml")
        assert done.returncode == 0, done.stderr
        terms = read_terms(tmp_path, "student", "train/way/distillation")
        assert len(terms) == 64 // 16
        assert all(-1 <= value < 0 for value in terms)
        assert "acme-agreement" in {plugin["distribution"] for plugin in read_report(tmp_path)["plugins"]}
