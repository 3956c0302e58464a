"""The objective: which rows a loss sees, how groups, streams and tasks are averaged, what is logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mtl_affect.action_units import ActionUnits
from mtl_affect.combined import Combined
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_distill.distillation import Distillation
from mtl_std.losses import BinaryCrossEntropy, BinCrossEntropy, Concordance, CrossEntropy
from torch import Tensor, nn

from mtl_toolkit import Batch, Head, HeadOutput, Loss, Losses, Objective, StreamTask

HEADS: dict[str, Head] = {
    "expr": Expression(),
    "va": ValenceArousal(),
    "expr_va": Combined(tasks=("expr", "va")),
}
STREAMS = (StreamTask("e", "expr"), StreamTask("v", "va"), StreamTask("ev", "expr_va"))
CARRIES = {"expr": (0, 2), "va": (1, 2)}  # the streams that have the label as their own
TEMPERATURE = 1.5
DISTILLATION = Distillation(temperature=TEMPERATURE, weight=0.4)
Rows = Callable[[list[int]], Tensor]  # the loss of some rows
UNREADABLE_ID = 10**6  # a class id that would crash any loss that looks at it


@attrs.frozen(eq=False)
class Step:
    """Logits and labels of one step, for expression and valence-arousal."""

    sizes: tuple[int, ...]
    expr: Tensor  # [rows, 7], a leaf
    va: Tensor  # [rows, 2, 20], a leaf
    teacher_expr: Tensor
    teacher_va: Tensor
    expr_target: Tensor
    va_target: Tensor
    expr_mask: Tensor
    va_mask: Tensor

    @classmethod
    def random(
        cls,
        sizes: Sequence[int],
        expr_mask: Sequence[bool] | Tensor,
        va_mask: Sequence[Sequence[bool]] | Tensor,
        seed: int = 0,
    ) -> Step:
        rows, generator = sum(sizes), torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(rows, *shape, generator=generator) * 2

        return cls(
            sizes=tuple(sizes),
            expr=normal(7).requires_grad_(),
            va=normal(2, 20).requires_grad_(),
            teacher_expr=normal(7),
            teacher_va=normal(2, 20),
            expr_target=torch.randint(7, (rows,), generator=generator),
            va_target=torch.rand(rows, 2, generator=generator) * 2 - 1,
            expr_mask=torch.as_tensor(expr_mask, dtype=torch.bool),
            va_mask=torch.as_tensor(va_mask, dtype=torch.bool),
        )

    def batch(self, hidden_id: int = UNREADABLE_ID, hidden_value: float = torch.nan) -> Batch:
        targets = {
            "expr": self.expr_target.where(self.expr_mask, torch.tensor(hidden_id)),
            "va": self.va_target.where(self.va_mask, torch.tensor(hidden_value)),
        }
        masks = {"expr": self.expr_mask, "va": self.va_mask}
        return Batch.from_tensors(torch.zeros(sum(self.sizes), 1), targets, masks, sizes=self.sizes)

    def outputs(self) -> dict[str, HeadOutput]:
        return wrapped({"expr": self.expr, "va": self.va})

    def teacher(self) -> dict[str, HeadOutput]:
        return wrapped({"expr": self.teacher_expr, "va": self.teacher_va})

    def losses(self, *, distil: bool = False, **options: Any) -> Losses:
        if distil:
            options = {"extra": [DISTILLATION], "ground_truth_weight": 0.6} | options
        objective = Objective(HEADS, STREAMS, **options)
        return objective(self.outputs(), self.batch(), self.teacher() if distil else None)

    def doubled(self) -> Step:
        """The same in float64, for the slow computation."""
        tensors = {
            name: value.detach().double().requires_grad_(value.requires_grad)
            for name, value in attrs.asdict(self).items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        return attrs.evolve(self, **tensors)


def wrapped(values: Mapping[str, Tensor]) -> dict[str, HeadOutput]:
    """Outputs of heads, with two features under each."""
    return {task: HeadOutput(value, torch.ones(len(value), 2)) for task, value in values.items()}


def entropy(logits: Tensor, ids: Sequence[int]) -> Tensor:
    """Cross-entropy, the mean over rows: written out, as are the functions below."""
    probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -torch.stack([row[i].log() for row, i in zip(probabilities, ids, strict=True)]).mean()


def axis_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy on the bin and, from two rows on, 1 - CCC of the expectation."""
    edges = np.linspace(-1, 1, 21)
    loss = entropy(logits, [min(int(np.digitize(float(y), edges)) - 1, 19) for y in targets])
    if len(targets) < 2:
        return loss
    x = (logits.softmax(1) * torch.linspace(-1, 1, 20, dtype=logits.dtype)).sum(1)
    covariance = torch.cov(torch.stack([x, targets]))
    ccc = 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (x.mean() - targets.mean()) ** 2)
    return loss + 1 - ccc


def softened(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher, student) at the temperature, the batch mean, times its square."""
    p, q = (teacher / TEMPERATURE).softmax(1), (student / TEMPERATURE).softmax(1)
    return TEMPERATURE**2 * (p * (p / q).log()).sum() / len(student)


def mean_of(terms: Sequence[Tensor | None]) -> Tensor | None:
    present = [term for term in terms if term is not None]
    return torch.stack(present).mean() if present else None


def slow_losses(step: Step, *, distil: bool, sharing: bool) -> dict[str, Tensor]:
    """The losses of a step, by task, from the method's text."""
    starts = np.cumsum([0, *step.sizes])
    by_task: dict[str, list[Tensor | None]] = {"expr": [], "va": []}
    for stream in range(len(step.sizes)):
        rows = range(starts[stream], starts[stream + 1])

        def term(task: str, known: Tensor, truth: Rows, distilled: Rows) -> Tensor | None:
            shown = sharing or stream in CARRIES[task]  # noqa: B023 - called in the same turn
            labelled = [row for row in rows if shown and known[row]]  # noqa: B023
            others = [row for row in rows if row not in labelled]  # noqa: B023
            groups = []
            if labelled:
                groups.append(truth(labelled))
            if labelled and distil:
                groups[0] = 0.6 * groups[0] + 0.4 * distilled(labelled)
            if others and distil:
                groups.append(distilled(others))
            return mean_of(groups)

        def axis_term(axis: int) -> Tensor | None:
            return term(
                "va",
                step.va_mask[:, axis],
                lambda r: axis_loss(step.va[r, axis], step.va_target[r, axis]),
                lambda r: softened(step.va[r, axis], step.teacher_va[r, axis]),
            )

        by_task["expr"].append(
            term(
                "expr",
                step.expr_mask,
                lambda r: entropy(step.expr[r], step.expr_target[r].tolist()),
                lambda r: softened(step.expr[r], step.teacher_expr[r]),
            )
        )
        axes = [one for one in (axis_term(0), axis_term(1)) if one is not None]
        by_task["va"].append(torch.stack(axes).sum() if axes else None)
    means = {task: mean_of(terms) for task, terms in by_task.items()}
    return {task: mean for task, mean in means.items() if mean is not None}


@st.composite
def steps(draw: st.DrawFn) -> Step:
    """Three streams of one to six rows, any labels missing."""
    sizes = draw(st.tuples(*[st.integers(1, 6)] * 3))
    rows = sum(sizes)
    expr = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    va = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=rows, max_size=rows))
    return Step.random(sizes, expr, va, seed=draw(st.integers(0, 2**16)))


# Against the method.


@settings(deadline=None, max_examples=60)
@given(step=steps(), distil=st.booleans(), sharing=st.booleans())
def test_any_masks_give_the_losses_and_gradients_of_the_method_computed_row_by_row(step, distil, sharing):
    slow = step.doubled()
    found = step.losses(distil=distil, sharing=sharing)
    expected = slow_losses(slow, distil=distil, sharing=sharing)

    assert found.tasks.keys() == expected.keys()
    for task, loss in found.tasks.items():
        assert loss.item() == pytest.approx(expected[task].item(), rel=2e-5)
        (mine,) = torch.autograd.grad(loss, getattr(step, task))
        (theirs,) = torch.autograd.grad(expected[task], getattr(slow, task))
        # CCC over two rows that lie close together is steep, so the tolerance grows with the gradient.
        allowed = 1e-5 * max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-4, atol=allowed)


def test_groups_are_taken_per_axis_where_a_row_has_valence_only():
    """Row 0 has both axes, row 1 valence only, row 2 none: arousal's groups are rows {0} and {1, 2}."""
    step = Step.random((3, 0, 0), [False] * 3, [(True, True), (True, False), (False, False)])
    found = step.losses(distil=True).tasks["va"]

    def kd(rows: list[int], axis: int) -> Tensor:
        return softened(step.va[rows, axis], step.teacher_va[rows, axis])

    valence_truth = axis_loss(step.va[:2, 0], step.va_target[:2, 0])
    valence = (0.6 * valence_truth + 0.4 * kd([0, 1], 0) + kd([2], 0)) / 2
    arousal_truth = axis_loss(step.va[:1, 1], step.va_target[:1, 1])
    arousal = (0.6 * arousal_truth + 0.4 * kd([0], 1) + kd([1, 2], 1)) / 2
    torch.testing.assert_close(found, valence + arousal)


def test_without_a_teacher_an_axis_without_labels_adds_nothing():
    step = Step.random((0, 3, 0), [False] * 3, [(True, False)] * 3)
    losses = step.losses()
    torch.testing.assert_close(losses.total, axis_loss(step.va[:, 0], step.va_target[:, 0]))
    losses.total.backward()
    assert step.va.grad[:, 0].abs().sum() > 0
    assert (step.va.grad[:, 1] == 0).all()


def test_a_group_of_one_row_keeps_its_cross_entropy_and_leaves_ccc_out():
    step = Step.random((0, 3, 0), [False] * 3, [(True, True), (False, False), (False, False)])
    bins = HEADS["va"].bin_of(step.va_target[0])
    expected = sum(entropy(step.va[:1, axis], [int(bins[axis])]) for axis in (0, 1))
    losses = step.losses()
    torch.testing.assert_close(losses.total, expected)
    losses.total.backward()
    assert step.va.grad.isfinite().all()


def test_a_task_without_labels_anywhere_is_absent_and_the_others_train_on():
    step = Step.random((2, 2, 2), [True] * 6, [(False, False)] * 6)
    losses = step.losses()
    assert list(losses.tasks) == ["expr"]
    assert all(name.split("/")[1] == "expr" for name in losses.terms)
    losses.total.backward()
    assert step.expr.grad.abs().sum() > 0
    assert step.va.grad is None


def test_a_step_without_any_label_or_teacher_has_no_loss():
    step = Step.random((2, 2, 2), [False] * 6, [(False, False)] * 6)
    losses = step.losses()
    assert losses.total is None
    assert losses.tasks == {}
    assert losses.terms == {}


def test_a_step_without_any_label_learns_from_the_teacher():
    step = Step.random((2, 2, 2), [False] * 6, [(False, False)] * 6)
    expected = torch.stack(
        [softened(part, goal) for part, goal in pairs(step.expr, step.teacher_expr)]
    ).mean()
    torch.testing.assert_close(step.losses(distil=True).tasks["expr"], expected)


def pairs(student: Tensor, teacher: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Streams of two rows."""
    return list(zip(student.split(2), teacher.split(2), strict=True))


def test_a_stream_without_rows_is_left_out_of_the_average():
    step = Step.random((3, 0, 0), [True] * 3, [(False, False)] * 3)
    torch.testing.assert_close(step.losses().total, entropy(step.expr, step.expr_target.tolist()))


def test_the_order_of_the_rows_of_a_stream_does_not_matter():
    step = Step.random(
        (4, 3, 2), [True, False, True, True, False, True, False, True, False], [(True, False)] * 9
    )
    order = torch.tensor([2, 0, 3, 1, 6, 4, 5, 8, 7])
    moved = {name: value[order] for name, value in attrs.asdict(step).items() if name != "sizes"}
    for distil in (False, True):
        torch.testing.assert_close(
            attrs.evolve(step, **moved).losses(distil=distil).total, step.losses(distil=distil).total
        )


def test_the_objective_computes_in_float32_whatever_the_outputs_are():
    step = Step.random((2, 2, 2), [True] * 6, [(True, True)] * 6)
    objective = Objective(HEADS, STREAMS)
    half = {task: output.map(Tensor.bfloat16) for task, output in step.outputs().items()}
    rounded = {task: output.map(Tensor.float) for task, output in half.items()}
    found, expected = objective(half, step.batch()).total, objective(rounded, step.batch()).total
    assert found.dtype == torch.float32
    assert found.item() == expected.item()


# Missing labels.


@pytest.mark.parametrize("distil", [False, True])
def test_what_lies_where_the_mask_is_false_changes_neither_value_nor_gradient(distil):
    mask = torch.rand(9, 3, generator=torch.Generator().manual_seed(3)) < 0.5
    results = []
    for hidden_id, hidden_value in ((UNREADABLE_ID, torch.nan), (0, 0.0)):
        step = Step.random((3, 3, 3), mask[:, 0], mask[:, 1:])
        objective = Objective(HEADS, STREAMS, extra=[DISTILLATION] if distil else [])
        batch = step.batch(hidden_id, hidden_value)
        losses = objective(step.outputs(), batch, step.teacher() if distil else None)
        losses.total.backward()
        results.append([losses.total, step.expr.grad, step.va.grad, *losses.terms.values()])
    for poisoned, clean in zip(*results, strict=True):
        assert torch.equal(poisoned, clean)
        assert poisoned.isfinite().all()


def test_without_a_teacher_rows_without_a_label_have_no_gradient_even_where_the_output_is_nan():
    step = Step.random((3, 3, 3), [True, False, True] * 3, [(True, True), (False, True), (False, False)] * 3)
    with torch.no_grad():
        step.expr[~step.expr_mask] = torch.nan
        step.va[~step.va_mask] = torch.nan
    step.losses().total.backward()
    for leaf, mask in ((step.expr, step.expr_mask), (step.va, step.va_mask)):
        assert (leaf.grad[~mask] == 0).all()
        assert (leaf.grad[mask] != 0).any(-1).all()


# Streams and tasks.


def test_without_sharing_a_stream_is_read_as_if_it_had_its_own_labels_only():
    full = Step.random((2, 2, 2), [True] * 6, [(True, True)] * 6)
    own = attrs.evolve(
        full,
        expr_mask=torch.tensor([True, True, False, False, True, True]),
        va_mask=torch.tensor([[False, False], [True, True], [True, True]]).repeat_interleave(2, 0),
    )
    for distil in (False, True):
        hidden = full.losses(distil=distil, sharing=False)
        torch.testing.assert_close(hidden.total, own.losses(distil=distil).total, rtol=0, atol=0)
        assert hidden.total.item() != full.losses(distil=distil).total.item()


def test_a_combined_stream_joins_the_averages_of_its_members():
    step = Step.random((2, 2, 2), [True] * 6, [(True, True)] * 6)
    losses = step.losses(sharing=False)
    ids = step.expr_target.tolist()
    expected = (entropy(step.expr[:2], ids[:2]) + entropy(step.expr[4:], ids[4:])) / 2
    assert list(losses.tasks) == ["expr", "va"]
    torch.testing.assert_close(losses.tasks["expr"], expected)


def test_a_separate_combined_stream_makes_a_loss_of_its_own():
    step = Step.random((2, 2, 2), [True] * 6, [(True, True)] * 6)
    heads = HEADS | {"expr_va": Combined(tasks=("expr", "va"), reduction="separate")}
    losses = Objective(heads, STREAMS, sharing=False)(step.outputs(), step.batch())

    def parts(rows: slice) -> tuple[Tensor, Tensor]:
        va = [axis_loss(step.va[rows, a], step.va_target[rows, a]) for a in (0, 1)]
        return entropy(step.expr[rows], step.expr_target[rows].tolist()), va[0] + va[1]

    assert losses.tasks.keys() == {"expr", "va", "expr_va"}
    torch.testing.assert_close(losses.tasks["expr"], parts(slice(0, 2))[0])
    torch.testing.assert_close(losses.tasks["va"], parts(slice(2, 4))[1])
    torch.testing.assert_close(losses.tasks["expr_va"], sum(parts(slice(4, 6))))
    torch.testing.assert_close(losses.total, sum(losses.tasks.values()))


def test_separate_streams_of_one_combined_task_are_averaged():
    step = Step.random((2, 2, 2), [True] * 6, [(True, True)] * 6)
    heads = HEADS | {"expr_va": Combined(tasks=("expr", "va"), reduction="separate")}
    streams = [StreamTask(name, "expr_va") for name in "abc"]
    losses = Objective(heads, streams)(step.outputs(), step.batch())
    assert list(losses.tasks) == ["expr_va"]
    torch.testing.assert_close(losses.total, step.losses().total)


def test_a_task_without_outputs_is_left_out():
    step = Step.random((2, 2, 2), [True] * 6, [(True, True)] * 6)
    outputs = wrapped({"va": step.va})
    assert list(Objective(HEADS, STREAMS)(outputs, step.batch()).tasks) == ["va"]


def test_any_name_a_table_may_have_is_a_task():
    """Not so for the keys of a torch ModuleDict."""
    heads = {"values": Expression(), "a.b": Expression()}
    objective = Objective(heads, [StreamTask("s", "values"), StreamTask("t", "a.b")])
    step = Step.random((2, 2), [True] * 4, [(True, True)] * 4)
    batch = Batch.from_tensors(torch.zeros(4, 1), dict.fromkeys(heads, step.expr_target), sizes=(2, 2))
    assert objective(wrapped(dict.fromkeys(heads, step.expr)), batch).tasks.keys() == heads.keys()


# Losses.


def test_label_losses_of_a_task_are_added_with_their_weights():
    step = Step.random((0, 4, 0), [False] * 4, [(True, True)] * 4)
    losses = {"va": [BinCrossEntropy(weight=2.0), Concordance(weight=0.5)]}
    found = Objective(HEADS, STREAMS, losses=losses)(step.outputs(), step.batch()).total
    expected = torch.zeros(())
    for axis in (0, 1):
        ids = HEADS["va"].bin_of(step.va_target[:, axis]).tolist()
        ce = entropy(step.va[:, axis], ids)
        ccc = axis_loss(step.va[:, axis], step.va_target[:, axis]) - ce
        expected = expected + 2.0 * ce + 0.5 * ccc
    torch.testing.assert_close(found, expected)


def test_extra_label_losses_join_every_task():
    step = Step.random((4,), [True] * 4, [(False, False)] * 4)
    objective = Objective({"expr": HEADS["expr"]}, [STREAMS[0]], extra=[CrossEntropy(weight=3.0)])
    found = objective(step.outputs(), step.batch()).total
    torch.testing.assert_close(found, 4 * entropy(step.expr, step.expr_target.tolist()))


@attrs.frozen(kw_only=True)
class MeanValue(Loss):
    """A third-party loss that gives a scalar: the mean output of the labelled rows."""

    name: ClassVar[str] = "mean-value"

    def build(self, head):
        def loss(output: HeadOutput, target: Any, mask: Tensor) -> Tensor:
            return output.values[head.unit_mask(mask).any(1)].mean()

        return loss


@attrs.frozen(kw_only=True)
class Centre(Loss):
    """A third-party loss with a parameter: the distance of the features from a learnt centre."""

    name: ClassVar[str] = "centre"

    def build(self, head):
        return LearntCentre()


class LearntCentre(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(2))

    def forward(self, output: HeadOutput, target: Any, mask: Tensor) -> Tensor:
        return ((output.features[mask] - self.centre) ** 2).mean()


@attrs.frozen(kw_only=True)
class PerRow(Loss):
    """A mistake: a loss that forgot to reduce the rows."""

    name: ClassVar[str] = "per-row"

    def build(self, head):
        return lambda output, *_: output.values.sum((1, 2))


def test_a_scalar_loss_counts_once_beside_losses_per_axis():
    step = Step.random((4,), [False] * 4, [(True, True)] * 3 + [(False, False)])
    losses = {"va": [MeanValue(weight=5.0), BinCrossEntropy()]}
    options = {"losses": losses, "extra": [DISTILLATION], "ground_truth_weight": 0.6}
    only_va = [StreamTask("v", "va")]
    found = Objective({"va": HEADS["va"]}, only_va, **options)(
        step.outputs(), step.batch(), step.teacher()
    ).total

    labelled, unlabelled = 0.6 * 5.0 * step.va[:3].mean(), torch.zeros(())
    for axis in (0, 1):
        student, goal = step.va[:, axis], step.teacher_va[:, axis]
        ids = HEADS["va"].bin_of(step.va_target[:3, axis]).tolist()
        labelled = labelled + 0.6 * entropy(student[:3], ids) + 0.4 * softened(student[:3], goal[:3])
        unlabelled = unlabelled + softened(student[3:], goal[3:])
    torch.testing.assert_close(found, (labelled + unlabelled) / 2)


def test_a_loss_with_parameters_is_part_of_the_objective_and_gets_a_gradient():
    step = Step.random((4, 0, 0), [True, False, True, True], [(False, False)] * 4)
    objective = Objective(HEADS, STREAMS, losses={"expr": [CrossEntropy(), Centre(weight=0.5)]})
    (centre,) = objective.parameters()
    objective(step.outputs(), step.batch()).total.backward()
    # Features are ones: d/dc of 0.5 * mean((1 - c)^2) at c = 0.
    torch.testing.assert_close(centre.grad, torch.full((2,), -0.5))
    assert len(objective.state_dict()) == 1


def test_a_loss_of_another_shape_is_refused_by_name():
    step = Step.random((0, 4, 0), [False] * 4, [(True, True)] * 4)
    objective = Objective(HEADS, STREAMS, losses={"va": [PerRow()]})
    with pytest.raises(
        ValueError, match=r"loss 'per-row' must give a scalar or one value per unit, 2 in all"
    ):
        objective(step.outputs(), step.batch())


def test_a_batch_of_other_streams_is_refused():
    step = Step.random((2, 2), [True] * 4, [(True, True)] * 4)
    with pytest.raises(ValueError, match=r"must have 3 streams \(got 2\)"):
        step.losses()


def test_teacher_losses_without_a_teacher_are_refused():
    step = Step.random((2, 2, 2), [True] * 6, [(True, True)] * 6)
    for options in ({"extra": [DISTILLATION]}, {"losses": {"expr": [DISTILLATION]}}):
        with pytest.raises(ValueError, match="pass the teacher's outputs"):
            Objective(HEADS, STREAMS, **options)(step.outputs(), step.batch())


def test_a_task_may_learn_from_its_teacher_alone():
    step = Step.random((2,), [True] * 2, [(False, False)] * 2)
    objective = Objective({"expr": HEADS["expr"]}, [STREAMS[0]], losses={"expr": [DISTILLATION]})
    losses = objective(step.outputs(), step.batch(), step.teacher())
    torch.testing.assert_close(losses.total, 0.4 * softened(step.expr, step.teacher_expr))
    assert list(losses.terms) == ["e/expr/distillation"]


def test_a_task_that_the_teacher_does_not_know_learns_from_labels_alone():
    step = Step.random((2, 2, 2), [True] * 6, [(True, True)] * 6)
    objective = Objective(HEADS, STREAMS, extra=[DISTILLATION])
    losses = objective(step.outputs(), step.batch(), wrapped({"expr": step.teacher_expr}))
    torch.testing.assert_close(losses.tasks["va"], step.losses().tasks["va"])
    assert losses.tasks["expr"].item() != step.losses().tasks["expr"].item()


def test_zero_weights_leave_a_group_out_of_the_mean():
    step = Step.random((4,), [True, True, False, False], [(False, False)] * 4)
    truth = entropy(step.expr[:2], step.expr_target[:2].tolist())
    softly = softened(step.expr[2:], step.teacher_expr[2:])
    for extra, weight, expected in (
        (Distillation(weight=0.0, unlabelled_weight=0.0), 1.0, truth),
        (Distillation(weight=0.0), 0.0, softly),
        (Distillation(weight=0.0), 1.0, (truth + softly) / 2),
    ):
        objective = Objective(
            {"expr": HEADS["expr"]}, [STREAMS[0]], extra=[extra], ground_truth_weight=weight
        )
        torch.testing.assert_close(objective(step.outputs(), step.batch(), step.teacher()).total, expected)


def test_the_weight_of_the_ground_truth_may_differ_by_task():
    step = Step.random((6,), [True] * 6, [(True, True)] * 6)
    heads = {task: HEADS[task] for task in ("expr", "va")}
    whole, cut = (
        Objective(heads, [STREAMS[0]], ground_truth_weight=weight)(step.outputs(), step.batch()).tasks
        for weight in (1.0, {"expr": 0.25})
    )
    torch.testing.assert_close(cut["expr"], 0.25 * whole["expr"])
    torch.testing.assert_close(cut["va"], whole["va"])


# Action units.

UNITS = ActionUnits(names=("AU1", "AU2", "AU4"))


def units_step() -> tuple[Tensor, Tensor, Batch]:
    """Four rows: AU1 is labelled in all, AU2 in two, AU4 in none."""
    generator = torch.Generator().manual_seed(5)
    student = torch.randn(4, 3, generator=generator, requires_grad=True)
    teacher = torch.randn(4, 3, generator=generator)
    mask = torch.tensor(
        [[True, True, False], [True, False, False], [True, True, False], [True, False, False]]
    )
    target = (torch.rand(4, 3, generator=generator) < 0.5).float().where(mask, torch.tensor(torch.nan))
    return student, teacher, Batch.from_tensors(torch.zeros(4, 1), {"au": target}, {"au": mask})


def binary_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    p = logits.sigmoid()
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()


def binary_softened(student: Tensor, teacher: Tensor) -> Tensor:
    p, q = (teacher / TEMPERATURE).sigmoid(), (student / TEMPERATURE).sigmoid()
    return TEMPERATURE**2 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()


def test_action_units_are_averaged_over_the_units_that_have_labels():
    student, _, batch = units_step()
    losses = Objective({"au": UNITS}, [StreamTask("s", "au")])(wrapped({"au": student}), batch)
    target = batch.targets["au"]
    first = binary_entropy(student[:, 0], target[:, 0])
    second = binary_entropy(student[[0, 2], 1], target[[0, 2], 1])
    torch.testing.assert_close(losses.total, (first + second) / 2)
    torch.testing.assert_close(losses.terms["s/au/ground-truth"], (first + second).detach() / 2)
    losses.total.backward()
    assert student.grad.isfinite().all()
    assert (student.grad[~batch.masks["au"]] == 0).all()


def test_with_a_teacher_all_units_count_each_with_its_own_groups():
    student, teacher, batch = units_step()
    objective = Objective(
        {"au": UNITS}, [StreamTask("s", "au")], extra=[DISTILLATION], ground_truth_weight=0.6
    )
    losses = objective(wrapped({"au": student}), batch, wrapped({"au": teacher}))
    target, yes, no = batch.targets["au"], [0, 2], [1, 3]
    first = 0.6 * binary_entropy(student[:, 0], target[:, 0]) + 0.4 * binary_softened(
        student[:, 0], teacher[:, 0]
    )
    labelled = 0.6 * binary_entropy(student[yes, 1], target[yes, 1])
    labelled = labelled + 0.4 * binary_softened(student[yes, 1], teacher[yes, 1])
    second = (labelled + binary_softened(student[no, 1], teacher[no, 1])) / 2
    third = binary_softened(student[:, 2], teacher[:, 2])
    torch.testing.assert_close(losses.total, (first + second + third) / 3)


def test_a_scalar_loss_is_added_to_the_mean_of_the_units():
    student, _, batch = units_step()
    losses = {"au": [BinaryCrossEntropy(), MeanValue()]}
    found = Objective({"au": UNITS}, [StreamTask("s", "au")], losses=losses)(wrapped({"au": student}), batch)
    alone = Objective({"au": UNITS}, [StreamTask("s", "au")])(wrapped({"au": student}), batch)
    torch.testing.assert_close(found.total, alone.total + student.mean())


# The log.


def test_the_log_names_every_term_by_stream_task_and_loss():
    """Rows of streams e, v and ev in turn: two of each kind, shared labels included."""
    step = Step.random(
        (2, 2, 2),
        [True, True, True, False, False, False],
        [(False, False), (False, False), (True, True), (True, False), (True, True), (True, True)],
    )
    losses = step.losses(distil=True)
    assert set(losses.terms) == {
        "e/expr/ground-truth",
        "e/expr/distillation",
        "e/va/distillation-unlabelled",
        "v/expr/ground-truth",
        "v/expr/distillation",
        "v/expr/distillation-unlabelled",
        "v/va/ground-truth",
        "v/va/distillation",
        "v/va/distillation-unlabelled",
        "ev/expr/distillation-unlabelled",
        "ev/va/ground-truth",
        "ev/va/distillation",
    }
    assert not any(term.requires_grad or term.ndim for term in losses.terms.values())


def test_logged_terms_are_free_of_the_group_weights():
    step = Step.random((4, 0, 0), [True, True, False, False], [(False, False)] * 4)
    terms = step.losses(distil=True).terms
    student, teacher = step.expr.detach(), step.teacher_expr
    torch.testing.assert_close(
        terms["e/expr/ground-truth"], entropy(student[:2], step.expr_target[:2].tolist())
    )
    torch.testing.assert_close(terms["e/expr/distillation"], softened(student[:2], teacher[:2]))
    torch.testing.assert_close(terms["e/expr/distillation-unlabelled"], softened(student[2:], teacher[2:]))


def test_two_teacher_losses_of_one_name_are_logged_apart():
    step = Step.random((2,), [True, False], [(False, False)] * 2)
    extra = [Distillation(temperature=1.0), Distillation(temperature=TEMPERATURE)]
    objective = Objective({"expr": HEADS["expr"]}, [STREAMS[0]], extra=extra)
    terms = objective(step.outputs(), step.batch(), step.teacher()).terms
    assert terms.keys() == {
        "e/expr/ground-truth",
        "e/expr/distillation",
        "e/expr/distillation-2",
        "e/expr/distillation-unlabelled",
        "e/expr/distillation-2-unlabelled",
    }
    expected = softened(step.expr[:1], step.teacher_expr[:1]).detach()
    torch.testing.assert_close(terms["e/expr/distillation-2"], expected)


@pytest.mark.parametrize(
    ("streams", "problem"),
    [
        ([StreamTask("e", "exp")], "stream 'e': there is no head of task 'exp'; did you mean 'expr'"),
        ([StreamTask("e", "expr"), StreamTask("e", "va")], "names of streams must differ .got 'e' twice."),
    ],
)
def test_streams_of_unknown_tasks_and_of_one_name_are_refused(streams, problem):
    with pytest.raises(ValueError, match=problem):
        Objective(HEADS, streams)
