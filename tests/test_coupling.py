"""Losses that couple tasks: which rows and labels they see, weights, what is logged, where they may stand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import pytest
import torch
from mtl_affect.combined import Combined
from mtl_std.classification import Classification
from mtl_std.losses import MeanSquaredError
from mtl_std.regression import Regression
from torch import Tensor, nn

from mtl_toolkit import (
    Batch,
    ConfigError,
    CouplingLoss,
    Head,
    HeadOutput,
    Objective,
    StreamTask,
    load_config,
)
from mtl_toolkit.pipeline import DataSource, survey
from mtl_toolkit.pipeline.data import loss_names

HEADS: dict[str, Head] = {
    "kind": Classification(classes=("a", "b")),
    "size": Regression(),
    "both": Combined(tasks=("kind", "size")),
}
STREAMS = (StreamTask("k", "kind"), StreamTask("s", "size"), StreamTask("ks", "both"))
SIZES = (2, 3, 2)

# A stranger's loss: the probability of the first class follows valence, whether there are labels or not.
TIE = """
from typing import ClassVar

import attrs
from mtl_toolkit import CouplingLoss, hookimpl


@attrs.frozen(kw_only=True)
class Tie(CouplingLoss):
    '''Two tasks say the same.'''

    name: ClassVar[str] = "tie"

    def build_joint(self, heads):
        first, second = heads

        def loss(outputs, targets, masks):
            share = outputs[first].values.softmax(1)[:, 0]
            return (share - heads[second].estimate(outputs[second].values)[:, 0]).square().mean()

        return loss


@hookimpl
def mtl_losses():
    return [Tie]
"""


@attrs.frozen(kw_only=True)
class Seen(CouplingLoss):
    """A coupling that remembers what it was called with."""

    name: ClassVar[str] = "seen"
    calls: list[Any] = attrs.field(factory=list)

    def build_joint(self, heads: Mapping[str, Head]) -> Any:
        def loss(outputs, targets, masks):
            self.calls.append((outputs, targets, masks))
            return (outputs["kind"].values.sum(1) * outputs["size"].values[:, 0]).mean()

        return loss


def batch(**tasks: tuple[Tensor, Tensor]) -> Batch:
    targets, masks = ({task: pair[side] for task, pair in tasks.items()} for side in (0, 1))
    return Batch.from_tensors(torch.zeros(sum(SIZES), 1), targets, masks, sizes=SIZES)


def labelled(*rows: int, ids: bool = True) -> tuple[Tensor, Tensor]:
    mask = torch.zeros(sum(SIZES), dtype=torch.bool)
    mask[list(rows)] = True
    if ids:
        return torch.where(mask, 1, 10**6), mask
    return torch.where(mask, 0.5, torch.nan)[:, None], mask[:, None]


def outputs() -> dict[str, HeadOutput]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"kind": 2, "size": 1}
    values = {task: torch.randn(sum(SIZES), width, generator=generator) for task, width in shapes.items()}
    return {task: HeadOutput(one.requires_grad_(), torch.ones(len(one), 3)) for task, one in values.items()}


def objective(*couplings: CouplingLoss, **options: Any) -> Objective:
    return Objective(HEADS, STREAMS, losses={"both": couplings}, **options)


def test_it_is_taken_over_all_rows_of_every_stream_whoever_they_are_for():
    seen = Seen()
    step = outputs()
    objective(seen)(step, batch(kind=labelled(0, 5), size=labelled(2, 5, ids=False)))
    ((found, targets, masks),) = seen.calls
    assert list(found) == list(targets) == list(masks) == ["kind", "size"]
    torch.testing.assert_close(found["size"].values, step["size"].values)
    assert masks["kind"].nonzero().flatten().tolist() == [0, 5]
    assert masks["size"][:, 0].nonzero().flatten().tolist() == [2, 5]
    assert targets["kind"][masks["kind"]].tolist() == [1, 1]


def test_it_is_a_loss_of_its_own_under_the_combined_tasks_name_and_its_term_is_logged_unweighted():
    step = outputs()
    losses = objective(Seen(weight=0.25))(step, batch(kind=labelled(0), size=labelled(2, ids=False)))
    expected = (step["kind"].values.sum(1) * step["size"].values[:, 0]).mean()
    torch.testing.assert_close(losses.tasks["both"], 0.25 * expected)
    torch.testing.assert_close(losses.terms["both/seen"], expected.detach())
    assert set(losses.tasks) == {"kind", "size", "both"}
    without = objective()(step, batch(kind=labelled(0), size=labelled(2, ids=False)))
    assert "both" not in without.tasks
    torch.testing.assert_close(losses.tasks["kind"], without.tasks["kind"])


def test_several_are_summed_with_their_weights_and_numbered_in_the_log():
    losses = objective(Seen(), Seen(weight=2.0), Seen(weight=0))(outputs(), batch())
    torch.testing.assert_close(losses.tasks["both"], 3 * losses.terms["both/seen"])
    assert set(losses.terms) == {"both/seen", "both/seen-2"}


def test_with_a_separate_head_it_is_added_to_the_combined_tasks_own_loss():
    heads = HEADS | {"both": Combined(tasks=("kind", "size"), reduction="separate")}
    labels = batch(kind=labelled(5), size=labelled(ids=False))
    with_it, without = (
        Objective(heads, STREAMS, losses={"both": many}, sharing=False)(outputs(), labels)
        for many in ([Seen()], [])
    )
    torch.testing.assert_close(
        with_it.tasks["both"], without.tasks["both"] + with_it.terms["both/seen"], rtol=1e-5, atol=1e-6
    )


def test_a_member_that_no_row_is_labelled_for_has_an_empty_mask_and_targets_of_its_type():
    seen = Seen()
    objective(seen)(outputs(), batch())
    ((_, targets, masks),) = seen.calls
    assert targets["kind"].dtype == torch.int64
    assert targets["size"].shape == masks["size"].shape == (sum(SIZES), 1)
    assert not masks["kind"].any()
    assert not masks["size"].any()


def test_labels_that_do_not_count_are_masked():
    """Rows 0 and 1 are of the stream for `kind`, 5 and 6 of that for both."""
    seen = Seen()
    everything = batch(kind=labelled(*range(7)), size=labelled(*range(7), ids=False))
    objective(seen, sharing=False)(outputs(), everything)
    ((_, _, masks),) = seen.calls
    assert masks["kind"].nonzero().flatten().tolist() == [0, 1, 5, 6]
    assert masks["size"][:, 0].nonzero().flatten().tolist() == [2, 3, 4, 5, 6]


def test_without_the_output_of_a_member_it_is_absent():
    found = objective(Seen())({"kind": outputs()["kind"]}, batch(kind=labelled(0)))
    assert set(found.tasks) == {"kind"}


def test_it_computes_in_float32():
    seen = Seen()
    half = {task: output.map(Tensor.bfloat16) for task, output in outputs().items()}
    objective(seen)(half, batch())
    assert seen.calls[0][0]["kind"].values.dtype == torch.float32


@attrs.frozen(kw_only=True)
class Learnt(CouplingLoss):
    """A coupling with a parameter; or one that is no scalar."""

    name: ClassVar[str] = "learnt"

    def build_joint(self, heads: Mapping[str, Head]) -> nn.Module:
        class Product(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.between = nn.Linear(2, 1)

            def forward(self, outputs, targets, masks):
                return (self.between(outputs["kind"].values) - outputs["size"].values).square().mean()

        return Product()


def test_its_parameters_are_the_objectives():
    assert len(list(objective(Learnt()).parameters())) == 2


@attrs.frozen(kw_only=True)
class PerRow(CouplingLoss):
    """A value per row."""

    name: ClassVar[str] = "per-row"

    def build_joint(self, heads: Mapping[str, Head]) -> Any:
        return lambda outputs, *_: outputs["size"].values[:, 0]


def test_a_value_that_is_no_scalar_is_an_error():
    with pytest.raises(ValueError, match=r"loss 'per-row' must give a scalar \(got shape \(7,\)\)"):
        objective(PerRow())(outputs(), batch())


def test_an_objective_refuses_a_loss_of_one_task_for_a_combined_one_and_members_without_heads():
    with pytest.raises(ValueError, match=r"task 'both': 'mse' is a loss of one task"):
        objective(MeanSquaredError())
    some = {"kind": HEADS["kind"], "both": HEADS["both"]}
    with pytest.raises(ValueError, match="task 'both': there is no head of 'size'"):
        Objective(some, STREAMS[:1], losses={"both": [Seen()]})


def test_it_cannot_be_built_for_one_task():
    with pytest.raises(ConfigError, match="learnt: couples tasks; name it in the losses of a combined task"):
        Learnt().build(HEADS["kind"])


# In a configuration.

COUPLED = ("tasks.expr_va.losses=['tie']",)
THREE = (
    "defaults.streams=[{ dataset = 'a', task = 'expr', batch_size = 8 },"
    " { dataset = 'b', task = 'va', batch_size = 8 },"
    " { dataset = 'a', name = 'c', task = 'expr_va', batch_size = 4 }]"
)


@pytest.fixture
def tie(packages):
    packages.add("stranger", {"tie": TIE})


def lines_of(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides=overrides)
    return [line.partition(": ")[2] for line in caught.value.problems]


@pytest.mark.usefixtures("tie")
def test_losses_that_stand_at_the_wrong_sort_of_task_are_told_when_checking(tiny):
    couples = "'tie' couples tasks: name it in the losses of a combined task"
    one = "'mse' is a loss of one task: name it in the tasks that have outputs"
    assert lines_of(tiny, "tasks.va.losses=['ccc', 'tie']") == [f"tasks.va.losses: {couples}"]
    assert lines_of(tiny, "tasks.expr_va.losses=['tie', 'mse']") == [f"tasks.expr_va.losses: {one}"]
    assert lines_of(tiny, "stages.teacher.losses=['tie']") == [f"stages.teacher.losses: {couples}"]


@pytest.mark.usefixtures("tie")
def test_a_combined_task_keeps_the_losses_it_names_and_gets_none_by_default(tiny):
    config = load_config(tiny, overrides=COUPLED).config
    assert [one.name for one in config.tasks["expr_va"].losses] == ["tie"]
    assert load_config(tiny).config.tasks["expr_va"].losses == ()


@pytest.mark.usefixtures("tie")
def test_it_counts_among_a_stages_losses_where_a_stream_is_for_the_combined_task(tiny):
    config = load_config(tiny, overrides=COUPLED).config
    assert loss_names(config, config.stages[0]) == ["expr", "va"]
    config = load_config(tiny, overrides=(*COUPLED, THREE)).config
    assert loss_names(config, config.stages[0]) == ["expr", "va", "expr_va"]


def test_one_that_does_not_fit_its_members_is_told_when_checking(tiny, packages):
    packages.add("stranger", {"tie": TIE.replace("first, second = heads", REFUSES)})
    config = load_config(tiny, overrides=COUPLED).config
    _, problems = survey(config, DataSource(config))
    assert problems == ["tasks.expr_va.losses: tie: needs three tasks"]


REFUSES = """from mtl_toolkit import ConfigError
        raise ConfigError("tie: needs three tasks")"""


@pytest.mark.usefixtures("tie")
def test_a_run_logs_it_and_a_stage_without_such_a_stream_does_not_have_it(tiny, mtl, tmp_path):
    overrides = (
        *COUPLED,
        THREE,
        "defaults.epochs=1",
        "stages.student.streams=[{ dataset = 'a', task = 'expr' }]",
    )
    options = [part for one in overrides for part in ("--set", one)]
    code, _, err = mtl("run", str(tiny), "--output", str(tmp_path / "out"), *options)
    assert code == 0, err
    logs = {
        stage: [
            json.loads(line) for line in (tmp_path / "out" / stage / "log.jsonl").read_text().splitlines()
        ]
        for stage in ("teacher", "student")
    }
    assert all("expr_va/tie" in line["losses"] for line in logs["teacher"])
    assert not any("expr_va/tie" in line["losses"] for line in logs["student"])
