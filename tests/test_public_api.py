"""The public names: their list changes on purpose only, and a program that uses them passes `mypy --strict`.

`python tests/test_public_api.py` writes the list anew. What may change, and how, is in docs/stability.md.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import mtl_toolkit
from mtl_toolkit import hookspecs

LIST = Path(__file__).with_name("public_names.txt")
MODULES = ("validators", "testing")  # public modules of mtl_toolkit, beside its own names
CALLED = ("__call__", "__getitem__", "__iter__", "__len__")  # methods that the language calls
TOLD = """The public names are not those of tests/public_names.txt:

{difference}

If this is meant, run `python tests/test_public_api.py`, and give CHANGELOG.md a line. To take a name away,
or to ask more of callers, comes after a deprecation: see docs/stability.md.
"""


def public_lines() -> list[str]:
    """A line for each public name, and one for each public member of a public class, with signatures."""
    lines = [line for name in mtl_toolkit.__all__ for line in described(name, getattr(mtl_toolkit, name))]
    for module in map(importlib.import_module, (f"mtl_toolkit.{name}" for name in MODULES)):
        short = module.__name__.removeprefix("mtl_toolkit.")
        for name in names_of(module):
            lines += described(f"{short}.{name}", getattr(module, name))
    lines += [f"{name}{signature(hook)}" for name, hook in vars(hookspecs).items() if name.startswith("mtl_")]
    return sorted(dict.fromkeys(lines))


def names_of(module: ModuleType) -> list[str]:
    """What a module says is public, or else what it defines itself."""
    own = [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
    ]
    return list(getattr(module, "__all__", [name for name in own if not name.startswith("_")]))


def described(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from class_lines(name, value)
    elif inspect.isroutine(value):
        yield f"{name}{signature(value)}"
    else:
        yield name


def class_lines(name: str, cls: type) -> Iterator[str]:
    bases = [base.__name__ for base in cls.__mro__[1:] if base.__module__.startswith("mtl_toolkit")]
    made = "" if getattr(cls, "_is_protocol", False) else signature(cls)
    yield f"class {name}{made}" + (f" is {', '.join(bases)}" if bases else "")
    fields = {field.name: field for field in attrs.fields(cls)} if attrs.has(cls) else {}
    for member in public_members(cls):
        value = inspect.getattr_static(cls, member)
        if member in fields:
            yield f"{name}.{member}: {fields[member].type}"
        elif member in getattr(cls, "_fields", ()):
            yield plain_annotations(f"{name}.{member}: {inspect.get_annotations(cls)[member]!r}")
        elif isinstance(value, property):
            returned = value.fget.__annotations__.get("return", "") if value.fget else ""
            yield f"{name}.{member}: {returned} (property)".replace("'", "")
        elif inspect.isroutine(value) or isinstance(value, classmethod | staticmethod):
            yield f"{name}.{member}{signature(getattr(value, '__func__', value))}"
        else:
            yield f"{name}.{member} = {value!r}"


def public_members(cls: type) -> list[str]:
    """What the core's classes among its bases define, without private and special names."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("mtl_toolkit")]
    found = {member for base in own for member in vars(base)}
    return sorted(member for member in found if not member.startswith("_") or member in CALLED)


def signature(value: Any) -> str:
    """With annotations, and without what differs from process to process or between Pythons."""
    try:
        text = str(inspect.signature(value))
    except ValueError:  # of a class whose constructor is written in C
        return ""
    text = re.sub(r"<function (?:\w+\.)*<lambda> at 0x[0-9a-f]+>", "<lambda>", text)
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return plain_annotations(text)


def plain_annotations(text: str) -> str:
    """Annotations are texts, or wrap one, as Python pleases."""
    text = re.sub(r"""ForwardRef\((["'])(.*?)\1[^)]*\)""", r"\2", text)
    return re.sub(r"""(: |-> )(["'])(.*?)\2""", r"\1\3", text)


def test_the_public_names_are_those_of_the_list():
    known, found = LIST.read_text(encoding="utf-8").splitlines(), public_lines()
    difference = [
        line
        for line in difflib.unified_diff(known, found, "tests/public_names.txt", "now", lineterm="", n=0)
        if not line.startswith("@@")
    ]
    if difference:
        pytest.fail(TOLD.format(difference="\n".join(difference)), pytrace=False)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("class Trainer(*, model: MultiTaskModel, objective: Objective, balancer: Any, ", "a constructor"),
        ("Trainer.fit(self) -> Progress", "a method"),
        ("EpochFinished.losses: Mapping[str, float]", "a field"),
        ("Model.read_size", "a class that is not public"),
        ("Head.units: tuple[str, ...] (property)", "a property"),
        ("run(loaded: Loaded, output: Path | str, *, ", "a function"),
        ("validators.at_least(bound: float) -> Rule", "a module's function"),
        ("mtl_epoch_finished(event: EpochFinished) -> None", "a hook"),
    ],
    ids=lambda value: value if " " in value and "(" not in value else "",
)
def test_the_list_has_constructors_methods_fields_and_hooks(line, why):
    found = [one for one in public_lines() if one.startswith(line)]
    assert len(found) == (0 if why.endswith("not public") else 1)


USER_PACKAGE = '''
"""A package of somebody else: a head, a loss, a metric, a dataset; and a program that trains and predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torchmetrics import Metric as LiveMetric

import mtl_toolkit
from mtl_toolkit import (
    Balancer,
    Batch,
    ConfigError,
    DataFacts,
    Dataset,
    EpochFinished,
    Feed,
    FeedMetrics,
    Head,
    HeadOutput,
    Interrupted,
    Labels,
    LiveStream,
    Loss,
    Losses,
    Metric,
    MultiTaskModel,
    Objective,
    Observer,
    Predictions,
    Progress,
    ProgressScreen,
    Sampler,
    Samples,
    Screen,
    SequentialPlan,
    StageStarted,
    StepsLogged,
    StreamLoader,
    StreamTask,
    TensorSamples,
    TrainPlan,
    Trainer,
    config_from,
    evaluate,
    hookimpl,
    load_config,
    load_stage,
    predict,
    run,
    suggestion,
    validators,
)
from mtl_toolkit.validators import at_least


@attrs.frozen(kw_only=True)
class PoissonLikelihood(Loss):
    """The negative log-likelihood of counts."""

    name: ClassVar[str] = "poisson"
    floor: float = attrs.field(default=1e-6, validator=at_least(0), metadata={"doc": "smallest rate"})

    def build(self, head: Head) -> Callable[[HeadOutput, Any, Tensor], Tensor]:
        def loss(output: HeadOutput, target: Tensor, mask: Tensor) -> Tensor:
            target = torch.where(mask, target, torch.zeros_like(target))
            rate = output.values.exp() + self.floor
            values = (rate - target * rate.log()) * mask
            return values.sum() / mask.sum().clamp(min=1)

        return loss


class LiveError(LiveMetric):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("rows", torch.zeros(()), dist_reduce_fx="sum")
        self.total: Tensor
        self.rows: Tensor

    def update(self, output: HeadOutput, target: Tensor, mask: Tensor) -> None:
        self.total += (output.values.exp() - target)[mask].abs().sum()
        self.rows += mask.sum()

    def compute(self) -> Tensor:
        return self.total / self.rows


@attrs.frozen(kw_only=True)
class MeanError(Metric):
    """The mean absolute error."""

    name: ClassVar[str] = "mean_error"

    def build(self, head: Head) -> LiveMetric:
        return LiveError()


class CountLayers(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.last = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> HeadOutput:
        return HeadOutput(self.last(features), features)


@attrs.frozen(kw_only=True)
class Count(Head):
    """How many there are."""

    name: ClassVar[str] = "count"

    @property
    def units(self) -> tuple[str, ...]:
        return ("count",)

    @property
    def target_shape(self) -> tuple[int, ...]:
        return (1,)

    def meaning(self) -> dict[str, Any]:
        return {"counts": True}

    def check_labels(self, labels: Labels) -> str | None:
        bad = labels.values[labels.valid & (labels.values < 0)]
        return f"must be at least 0 (got {bad[0]})" if len(bad) else None

    def build(self, features: int) -> nn.Module:
        return CountLayers(features)

    def estimate(self, values: Tensor) -> Tensor:
        return values.exp()

    def distribution(self, values: Tensor, temperature: float = 1.0) -> Distribution:
        return Normal(values.exp(), temperature)

    def default_losses(self) -> tuple[Loss, ...]:
        return (PoissonLikelihood(),)

    def default_metrics(self) -> tuple[Metric, ...]:
        return (MeanError(),)

    def default_selection(self) -> Mapping[str, float]:
        return {"mean_error": -1.0}


class DotSamples(Samples):
    def __init__(self, recipe: Dots, facts: DataFacts) -> None:
        self.dots = np.random.default_rng(recipe.seed).integers(0, 10, recipe.samples)
        self.size = facts.image_size

    def __len__(self) -> int:
        return len(self.dots)

    def labels(self) -> Mapping[str, Labels]:
        values = self.dots[:, None].astype(np.float32)
        return {"dots": Labels(values, np.ones_like(values, dtype=np.bool_))}

    def read(self, indices: Sequence[int] | np.ndarray) -> Tensor:
        return torch.zeros(len(indices), 3, self.size, self.size, dtype=torch.uint8)


@attrs.frozen(kw_only=True)
class Dots(Dataset):
    """Pictures of dots."""

    name: ClassVar[str] = "dots"
    samples: int = attrs.field(default=100, validator=validators.at_least(1))
    seed: int = 0

    def build(self, facts: DataFacts) -> Samples:
        if not facts.tasks:
            raise ConfigError(f"dots: no task{suggestion('dot', ['dots'])}")
        return DotSamples(self, facts)


@hookimpl
def mtl_heads() -> list[type[Head]]:
    return [Count]


@hookimpl
def mtl_losses() -> list[type[Loss]]:
    return [PoissonLikelihood]


class Ear:
    @hookimpl
    def mtl_stage_started(self, event: StageStarted) -> None:
        print(event.run, event.global_step, event.config["name"])

    @hookimpl
    def mtl_steps_logged(self, event: StepsLogged) -> None:
        print(event.losses["total"])

    @hookimpl
    def mtl_epoch_finished(self, event: EpochFinished) -> None:
        print(event.metrics, event.rates, event.score)


class Watch(Screen):
    def epoch_done(self, progress: Progress, record: Mapping[str, Any]) -> None:
        print(progress.epoch, record["metrics"])


def train(model: MultiTaskModel, sampler: Sampler, balancer: Balancer, points: Tensor) -> dict[str, float]:
    heads = {"dots": Count()}
    samples = TensorSamples(points, {"dots": points[:, :1]})
    stream = LiveStream("points", "dots", samples, sampler.build(len(samples), {}, {}), batch_size=8)
    objective = Objective(heads, [StreamTask(stream.title, stream.task)])
    loader = StreamLoader(TrainPlan([stream], seed=0, length="shortest"), heads)
    feed = Feed(StreamLoader(SequentialPlan(stream), heads), FeedMetrics("points", heads))
    observer: Observer = Watch()
    trainer = Trainer(
        model=model,
        objective=objective,
        balancer=balancer.build(["dots"]),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loader=loader,
        epochs=1,
        feeds=[feed],
        select={"points/dots/mean_error": -1.0},
        observer=observer,
    )
    batch: Batch = next(iter(loader.epoch(0)))
    losses: Losses = objective(model(batch.inputs), batch)
    print({name: float(value) for name, value in losses.terms.items()})
    try:
        return trainer.fit().best_metrics
    except Interrupted as stopped:
        print(stopped.signal)
        return {}
    finally:
        trainer.close()


def judge(folder: Path, samples: Samples) -> Iterator[float]:
    loaded = config_from({"name": "dots"}, base=folder) if folder.is_dir() else load_config(folder)
    with ProgressScreen() as screen:
        report = run(loaded, folder, screen=screen, listeners=[Ear()])
    print(report["stages"][0]["metrics"], mtl_toolkit.__doc__)
    stage = load_stage(folder / "count", loaded.registry)
    for block in predict(stage, samples):
        predictions: Predictions = block
        yield evaluate(predictions, samples.labels()).values["dots"]["mean_error"]


def joint(values: Tensor) -> Distribution:
    return Independent(Count().distribution(values), 1)
'''


@pytest.mark.slow  # mypy reads torch
def test_a_strangers_package_passes_mypy_strict(tmp_path):
    """It imports public names only, and states a type for everything."""
    (tmp_path / "dots.py").write_text(USER_PACKAGE, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", "cache", "dots.py"]
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        ["Success: no issues found in 1 source file"],
    ), done.stderr


if __name__ == "__main__":
    LIST.write_text("\n".join(public_lines()) + "\n", encoding="utf-8")
