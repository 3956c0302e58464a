"""Distribution matching against plain probabilities, and that it carries knowledge between tasks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mtl_affect.action_units import ActionUnits
from mtl_affect.appearance import Appearance
from mtl_affect.distribution_matching import UNITS_OF_EXPRESSIONS, DistributionMatching
from mtl_affect.expression import EXPRESSIONS, Expression
from mtl_affect.faces import STYLES, labels
from mtl_affect.valence_arousal import ValenceArousal
from torch import Tensor, nn

from mtl_toolkit import ConfigError, HeadOutput

EIGHT = Expression(classes=(*EXPRESSIONS, "other"))
HEADS = {"expr": EIGHT, "va": ValenceArousal(), "aus": ActionUnits()}


def outputs_of(expr: Tensor, aus: Tensor) -> dict[str, HeadOutput]:
    rows = len(expr)
    return {
        "expr": HeadOutput(expr, torch.zeros(rows, 2)),
        "va": HeadOutput(torch.full((rows, 2, 20), torch.nan), torch.zeros(rows, 2)),
        "aus": HeadOutput(aus, torch.zeros(rows, 2)),
    }


def loss_of(recipe: DistributionMatching, expr: Tensor, aus: Tensor, heads=HEADS) -> Tensor:
    return recipe.build_joint(heads)(outputs_of(expr, aus), {}, {})


def by_hand(recipe: DistributionMatching, expr: np.ndarray, aus: np.ndarray, heads=HEADS) -> float:
    """The same with probabilities and loops, in float64."""
    classes, units = heads["expr"].classes, heads["aus"].names
    known = [name for name in classes if name in recipe.table]
    in_table = [u for u in units if any(u in row for row in recipe.table.values())]
    total = 0.0
    for logits, predicted in zip(expr, aus, strict=True):
        p = dict(zip(classes, np.exp(logits) / np.exp(logits).sum(), strict=True))
        weight = sum(p[name] for name in known)
        row = 0.0
        for unit in in_table:
            there = 1 / (1 + np.exp(-predicted[units.index(unit)]))
            expected = sum(p[name] * recipe.table[name].get(unit, 0.0) for name in known) / weight
            a, b = (there, expected) if recipe.target == "action-units" else (expected, there)
            row -= a * np.log(b) + (1 - a) * np.log(1 - b)
        total += weight * row / len(in_table)
    return total / len(expr)


def drawn(rows: int, classes: int = 8, units: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, classes, generator=generator) * 2,
        torch.randn(rows, units, generator=generator) * 2,
    )


@pytest.mark.parametrize("target", ["action-units", "expression"])
@pytest.mark.parametrize("unrelated", [("other",), ()])
def test_it_is_the_cross_entropy_of_plain_probabilities(target, unrelated):
    expr, aus = drawn(9, 8 if unrelated else 7)
    heads = HEADS if unrelated else HEADS | {"expr": Expression()}
    recipe = DistributionMatching(target=target, unrelated=unrelated)
    found = loss_of(recipe, expr, aus, heads)
    assert found.item() == pytest.approx(by_hand(recipe, expr.numpy(), aus.numpy(), heads), rel=1e-5)


def test_classes_and_units_are_matched_by_name_in_any_order():
    expr, aus = drawn(6, 7)
    order, places = torch.randperm(7), torch.randperm(12)
    classes, units = Expression().classes, ActionUnits().names
    other = {
        "aus": ActionUnits(names=tuple(units[place] for place in places)),
        "expr": Expression(classes=tuple(classes[place] for place in order)),
    }
    wanted = loss_of(DistributionMatching(), expr, aus, HEADS | {"expr": Expression()})
    torch.testing.assert_close(loss_of(DistributionMatching(), expr[:, order], aus[:, places], other), wanted)


def test_units_that_the_table_lacks_are_left_out():
    heads = HEADS | {"expr": Expression(), "aus": ActionUnits(names=("AU12", "AU43"))}
    expr, aus = drawn(4, 7, 2)
    changed = torch.stack([aus[:, 0], torch.full((4,), torch.nan)], dim=1)
    found = loss_of(DistributionMatching(), expr, changed, heads)
    assert found.item() == pytest.approx(
        by_hand(DistributionMatching(), expr.numpy(), aus.numpy(), heads), rel=1e-5
    )


def test_a_row_counts_as_far_as_it_is_no_unrelated_class():
    """A face that is surely something else says nothing: neither value nor gradient."""
    expr = torch.zeros(2, 8)
    expr[0, 7] = 60.0
    expr.requires_grad_()
    aus = torch.full((2, 12), 3.0, requires_grad=True)
    found = loss_of(DistributionMatching(), expr, aus)
    found.backward()
    alone = loss_of(DistributionMatching(), torch.zeros(1, 8), torch.full((1, 12), 3.0))
    assert found.item() == pytest.approx(alone.item() / 2, rel=1e-5)
    assert aus.grad[0].abs().max() < 1e-20
    assert expr.grad[0].abs().max() < 1e-20
    assert aus.grad[1].abs().max() > 1e-3


@pytest.mark.parametrize(
    ("target", "detach", "moved"),
    [
        ("action-units", False, {"expr", "aus"}),
        ("action-units", True, {"expr"}),
        ("expression", False, {"expr", "aus"}),
        ("expression", True, {"aus"}),
    ],
)
def test_detach_keeps_the_gradient_from_the_target(target, detach, moved):
    expr, aus = (one.requires_grad_() for one in drawn(5))
    loss_of(DistributionMatching(target=target, detach=detach), expr, aus).backward()
    parts = {"expr": expr, "aus": aus}
    assert {name for name, one in parts.items() if one.grad is not None and one.grad.any()} == moved


@pytest.mark.parametrize("target", ["action-units", "expression"])
@pytest.mark.parametrize("scale", [1e-3, 60.0, 1e4])
def test_outputs_of_any_size_give_finite_losses_and_gradients(target, scale):
    expr, aus = ((one * scale).requires_grad_() for one in drawn(16))
    found = loss_of(DistributionMatching(target=target), expr, aus)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(expr.grad).all()
    assert torch.isfinite(aus.grad).all()


def test_a_unit_that_every_class_shows_or_none_is_no_infinity():
    table = {name: {"AU1": 1.0, "AU2": 0.0} for name in EXPRESSIONS}
    expr, aus = (one.requires_grad_() for one in drawn(4, 7))
    found = loss_of(DistributionMatching(table=table), expr, aus, HEADS | {"expr": Expression()})
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(expr.grad).all()
    assert torch.isfinite(aus.grad).all()


def test_half_precision_outputs_are_taken_in_full_precision():
    expr, aus = drawn(6)
    half = loss_of(DistributionMatching(), expr.bfloat16(), aus.bfloat16())
    full = loss_of(DistributionMatching(), expr.bfloat16().float(), aus.bfloat16().float())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full)


def test_no_rows_are_zero():
    assert loss_of(DistributionMatching(), torch.zeros(0, 8), torch.zeros(0, 12)).item() == 0


def test_labels_are_not_looked_at():
    expr, aus = drawn(3)
    targets = {"expr": torch.full((3,), 99), "aus": torch.full((3, 12), torch.nan)}
    masks = {"expr": torch.zeros(3, dtype=torch.bool), "aus": torch.zeros(3, 12, dtype=torch.bool)}
    live = DistributionMatching().build_joint(HEADS)
    assert torch.equal(live(outputs_of(expr, aus), targets, masks), live(outputs_of(expr, aus), {}, {}))


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ({"expr": Expression(), "va": ValenceArousal()}, "one member with units .*got 'expr', 'va'"),
        ({"aus": ActionUnits(), "look": Appearance()}, "one member with classes .*got 'aus', 'look'"),
        ({"a": Expression(), "b": Expression(), "aus": ActionUnits()}, "one member with classes .*'a', 'b'"),
        (
            {"expr": Expression(classes=("neutral", "happines")), "aus": ActionUnits()},
            "class 'happines' of task 'expr' must be in table or in unrelated; did you mean 'happiness'",
        ),
        ({"expr": Expression(), "aus": ActionUnits(names=("au1",))}, "one member with units"),
    ],
)
def test_members_that_do_not_fit_are_told(heads, message):
    with pytest.raises(ConfigError, match=message):
        DistributionMatching().build_joint(heads)


@pytest.mark.parametrize(("table", "rule"), [({}, "empty"), ({"fear": {"AU1": 1.2}}, "fear.AU1 must be")])
def test_a_table_holds_probabilities(table, rule):
    with pytest.raises(ValueError, match=rule):
        DistributionMatching(table=table)


def test_the_table_is_that_of_the_paper():
    """Three units of it, of each kind; a person who smiles shows AU12, one in two AU6."""
    assert set(UNITS_OF_EXPRESSIONS) == set(EXPRESSIONS)
    assert UNITS_OF_EXPRESSIONS["happiness"] == {"AU12": 1, "AU25": 1, "AU6": 0.51}
    assert UNITS_OF_EXPRESSIONS["sadness"]["AU17"] == 0.67
    assert UNITS_OF_EXPRESSIONS["neutral"] == {}


class TwoHeads(nn.Module):
    """From what a face shows, with noise, to expressions and units, over shared features."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 32), nn.ReLU())
        self.expr, self.aus = nn.Linear(32, 7), nn.Linear(32, 12)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(inputs)
        return self.expr(features), self.aus(features)


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of pairs of a positive and a negative in the right order."""
    ahead = scores[truth == 1][:, None] - scores[truth == 0][None]
    return float((ahead > 0).mean())


def train(recipe: DistributionMatching | None) -> float:
    """Train on expressions alone; the mean AUC of the units that no label was given for."""
    torch.manual_seed(0)
    faces = labels(5, range(3000), style=STYLES["wild"])
    inputs = torch.from_numpy(faces.aus) + 0.2 * torch.randn(3000, 12)
    expression = torch.from_numpy(faces.expression)
    model = TwoHeads()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    live = None if recipe is None else recipe.build_joint({"expr": Expression(), "aus": ActionUnits()})
    for step in range(120):
        rows = slice(step % 10 * 200, step % 10 * 200 + 200)
        expr, aus = model(inputs[rows])
        loss = F.cross_entropy(expr, expression[rows])
        if live is not None:
            loss = loss + live(outputs_of(expr, aus), {}, {})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        scores = model(inputs[2000:])[1].numpy()
    truth = faces.au_labels[2000:]
    shown = [
        ActionUnits().names.index(name) for name in ("AU1", "AU2", "AU4", "AU10", "AU12", "AU15", "AU25")
    ]
    return float(np.mean([auc(scores[:, unit], truth[:, unit]) for unit in shown]))


def test_units_without_a_label_learn_from_expressions():
    assert train(None) < 0.6
    assert train(DistributionMatching()) > 0.75
    assert train(DistributionMatching(detach=True)) > 0.75


def test_units_without_a_label_learn_nothing_where_they_are_the_target_themselves():
    assert train(DistributionMatching(target="action-units")) < 0.6
