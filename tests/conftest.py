"""Scratch distributions with entry points, as a stranger would publish them."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest

_NUMBERS = itertools.count()

# A small plugin of every kind; builds nothing, so that the configuration can be tested without torch.
KIT = '''
from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import attrs

from mtl_toolkit.hookspecs import hookimpl
from mtl_toolkit.plugin import (
    Architecture, Backbone, Balancer, Dataset, Head, Loss, Metric, Sampler, TeacherLoss,
)
from mtl_toolkit.validators import at_least, not_empty, unique


class NoBuild:
    __slots__ = ()

    def build(self, *args, **kwargs):
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class Score(NoBuild, Metric):
    """Higher is better."""

    name: ClassVar[str] = "score"


@attrs.frozen(kw_only=True)
class Plain(NoBuild, Loss):
    """A plain loss."""

    name: ClassVar[str] = "plain"


@attrs.frozen(kw_only=True)
class Focal(NoBuild, Loss):
    """Focal cross-entropy (Lin et al., 2017).

    Weighs down what is easy.
    """

    name: ClassVar[str] = "focal"
    gamma: float = attrs.field(default=2.0, validator=at_least(0), metadata={"doc": "focusing"})


@attrs.frozen(kw_only=True)
class Imitate(NoBuild, TeacherLoss):
    """Do as the teacher."""

    name: ClassVar[str] = "imitate"


class AnyHead(NoBuild):
    __slots__ = ()
    units = ("value",)
    target_shape = (1,)

    def meaning(self):
        return {}

    def check_labels(self, labels):
        return None

    def estimate(self, values):
        raise NotImplementedError

    def distribution(self, values, temperature=1.0):
        raise NotImplementedError

    def default_losses(self):
        return (Plain(),)

    def default_metrics(self):
        return (Score(),)

    def default_selection(self):
        return {"score": 1.0}


@attrs.frozen(kw_only=True)
class Binned(AnyHead, Head):
    """Values as a distribution over bins."""

    name: ClassVar[str] = "binned"
    bins: int = attrs.field(default=20, validator=at_least(2), metadata={"doc": "bins per axis"})
    axes: tuple[str, ...] = attrs.field(
        default=("x", "y"), validator=[not_empty(), unique()], metadata={"doc": "names of the axes"}
    )
    range: tuple[float, float] = (-1.0, 1.0)
    loss: Loss = attrs.field(factory=Plain)


@attrs.frozen(kw_only=True)
class Both(AnyHead, Head):
    """Stands for several tasks."""

    name: ClassVar[str] = "both"
    tasks: tuple[str, ...] = ()

    @property
    def members(self):
        return self.tasks


@attrs.frozen(kw_only=True)
class Folder(NoBuild, Dataset):
    """Files in a folder."""

    name: ClassVar[str] = "folder"
    path: Path
    labels: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Net(NoBuild, Backbone):
    """A network by name."""

    name: ClassVar[str] = "net"
    model: str = attrs.field(default="small", alias="name")

    def statistics(self):
        return (0.5,) * 3, (0.5,) * 3


@attrs.frozen(kw_only=True)
class Shared(NoBuild, Architecture):
    """One backbone for all."""

    name: ClassVar[str] = "shared"


@attrs.frozen(kw_only=True)
class Shuffle(NoBuild, Sampler):
    """In random order."""

    name: ClassVar[str] = "shuffle"


@attrs.frozen(kw_only=True)
class Balanced(NoBuild, Sampler):
    """Each stratum as often as the others."""

    name: ClassVar[str] = "balanced"
    power: float = 1.0


@attrs.frozen(kw_only=True)
class Sum(NoBuild, Balancer):
    """The plain sum."""

    name: ClassVar[str] = "sum"
    weights: dict[str, float] = attrs.field(factory=dict)


@hookimpl
def mtl_metrics():
    return [Score]


@hookimpl
def mtl_losses():
    return [Plain, Focal, Imitate]


@hookimpl
def mtl_heads():
    return [Binned, Both]


@hookimpl
def mtl_datasets():
    return [Folder]


@hookimpl
def mtl_backbones():
    return [Net]


@hookimpl
def mtl_architectures():
    return [Shared]


@hookimpl
def mtl_samplers():
    return [Shuffle, Balanced]


@hookimpl
def mtl_balancers():
    return [Sum]
'''

IMPORTS = """
import enum
from typing import *

import attrs

from mtl_toolkit.hookspecs import hookimpl
from mtl_toolkit.plugin import *
"""


class Packages:
    """Writes distributions into a folder that is on `sys.path`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        monkeypatch.syspath_prepend(folder)

    def add(self, distribution: str, plugins: Mapping[str, str], version: str = "1.0") -> None:
        """Install a distribution with one module per entry point, given by its source text."""
        lines = ["[mtl_toolkit]"]
        for name, source in plugins.items():
            module = f"scratch_plugin_{next(_NUMBERS)}"
            (self.folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
            lines.append(f"{name} = {module}")
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(head, encoding="utf-8")
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def add_loss(self, distribution: str, entry_point: str, body: str, version: str = "1.0") -> None:
        """Install a distribution with one loss called `mine`, whose class body is given."""
        self.add(distribution, {entry_point: loss_module(body)}, version)

    def entry_points(self) -> list[metadata.EntryPoint]:
        """The entry points of these distributions only."""
        found = metadata.distributions(path=[str(self.folder)])
        return [point for one in found for point in one.entry_points if point.group == "mtl_toolkit"]

    def hide_others(self) -> None:
        """Let the program under test see no other distribution's plugins."""
        self._monkeypatch.setattr(metadata, "entry_points", lambda **_: self.entry_points())


def loss_module(body: str, name: str = "mine", before: str = "") -> str:
    """The source of a plugin with one loss."""
    fields = textwrap.indent(textwrap.dedent(body).strip() or "pass", "    ")
    return (
        f"{IMPORTS}\n{textwrap.dedent(before)}\n"
        f"@attrs.frozen(kw_only=True)\nclass Mine(Loss):\n    '''My loss.'''\n"
        f"    name: ClassVar[str] = {name!r}\n{fields}\n    def build(self, head): ...\n\n"
        "@hookimpl\ndef mtl_losses():\n    return [Mine]\n"
    )


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """An empty folder for scratch distributions; their modules are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    yield Packages(folder, monkeypatch)
    for name in set(sys.modules) - before:
        if name.startswith("scratch_plugin_"):
            del sys.modules[name]


@pytest.fixture
def kit(packages: Packages) -> Packages:
    """One small plugin of every kind, in the distribution `kit`."""
    packages.add("kit", {"kit": KIT})
    return packages


@pytest.fixture
def loss_source() -> Callable[..., str]:
    """Make the source of a plugin with one loss."""
    return loss_module


@pytest.fixture
def mtl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: (exit code, standard output, standard error)."""
    from mtl_toolkit.cli import entry

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtl", *arguments])
        with pytest.raises(SystemExit) as stopped:
            entry()
        written = capsys.readouterr()
        return stopped.value.code, written.out, written.err

    return run


TINY = """
name = "tiny"
seed = 3

[trainer]
device = "cpu"
threads = 1
log_every = 2

[tasks.expr]
head = { type = "expression", hidden = 8 }
[tasks.va]
head = { type = "valence-arousal", hidden = 8, bins = 5 }
[tasks.expr_va]
head = { type = "combined", tasks = ["expr", "va"] }

[datasets.a]
type = "synthetic-faces"
samples = 40
seed = 1
labels = ["expression"]
extra_labels = ["valence-arousal"]
extra_share = 0.5
[datasets.b]
type = "synthetic-faces"
samples = 40
seed = 2
labels = ["valence-arousal"]
cache = true
[datasets.val]
type = "synthetic-faces"
samples = 20
seed = 3

[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }

[defaults]
epochs = 3
validation = [{ dataset = "val", task = "expr_va", batch_size = 8 }]
streams = [
    { dataset = "a", task = "expr", sampler = "balanced", batch_size = 8 },
    { dataset = "b", task = "va", batch_size = 8 },
]
optimizer = { type = "AdamW", lr = 1e-2 }
scheduler = { type = "OneCycleLR", max_lr = 1e-2 }

[[stages]]
name = "teacher"
sharing = false

[[stages]]
name = "student"
teacher = "teacher"
losses = [{ type = "distillation", weight = 0.4 }]
"""


@pytest.fixture(scope="session")
def tiny_text():
    """The text of the tiny job."""
    return TINY


@pytest.fixture
def tiny(tmp_path):
    """Write the tiny job (two stages on 16x16 faces, 5 steps an epoch) and return its path."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path
