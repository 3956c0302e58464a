"""Several networks as one: what an `Ensemble` says of its members' outputs, as a module of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mtl_affect.action_units import ActionUnits
from mtl_affect.expression import Expression
from mtl_affect.valence_arousal import ValenceArousal
from mtl_std.binned_regression import BinnedRegression
from mtl_std.classification import Classification
from mtl_std.multi_label import MultiLabel
from mtl_std.regression import Regression
from torch import nn
from torch.distributions import kl_divergence

from mtl_toolkit import Batch, Ensemble, HeadOutput, MultiTaskModel
from mtl_toolkit.metrics import FeedMetrics
from mtl_toolkit.seeding import seeded
from mtl_toolkit.testing.examples import Examples

WIDTH = 5
HEADS = {
    "expression": Expression(),
    "valence-arousal": ValenceArousal(),
    "action-units": ActionUnits(threshold=0.4),
    "classification": Classification(classes=("a", "b", "c")),
    "multi-label": MultiLabel(names=("u", "v"), threshold=(0.3, 0.6)),
    "binned-regression": BinnedRegression(axes=("x",), bins=7),
    "regression": Regression(axes=("x", "y")),
}


class Trunk(nn.Module):
    """The same features for every task."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 8)

    def forward(self, inputs, tasks):
        features = self.layer(inputs)
        return dict.fromkeys(tasks, features)


def network(heads, seed):
    with seeded(seed):
        return MultiTaskModel(Trunk(), {task: head.build(8) for task, head in heads.items()}).eval()


def inputs(rows=6):
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", HEADS)
def test_an_ensemble_of_a_network_with_itself_is_the_network(name):
    """Predictions, metrics, and the distribution at a temperature."""
    head, heads = HEADS[name], {"task": HEADS[name]}
    one = network(heads, 1)
    both = Ensemble([one, one, one], heads, weights={"task": [1.0, 2.0, 0.5]})
    alone, together = (model(inputs())["task"].values for model in (one, both))
    torch.testing.assert_close(head.predictions(together), head.predictions(alone))
    assert torch.equal(head.estimate(together), head.estimate(alone)) or name.endswith(
        ("regression", "arousal")
    )
    apart = kl_divergence(head.distribution(alone, 3.0), head.distribution(together, 3.0))
    torch.testing.assert_close(apart, torch.zeros_like(apart), atol=1e-6, rtol=0)
    rows = Examples(head).rows(6)
    batch = Batch.from_tensors(inputs(), {"task": rows.target}, {"task": rows.mask})
    found = []
    for values in (alone, together):
        metrics = FeedMetrics("feed", heads)
        metrics.update({"task": HeadOutput(values, values.new_zeros(6, 0))}, batch)
        found.append(metrics.compute())
    assert found[0] == pytest.approx(found[1], abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", HEADS)
def test_predictions_are_the_weighted_mean_of_the_members(name):
    head, heads = HEADS[name], {"task": HEADS[name]}
    members = [network(heads, seed) for seed in range(3)]
    found = Ensemble(members, heads, weights={"task": [3.0, 0.0, 1.0]})(inputs())["task"]
    said = np.stack([head.predictions(one(inputs())["task"].values).detach().numpy() for one in members])
    expected = 0.75 * said[0] + 0.25 * said[2]
    np.testing.assert_allclose(head.predictions(found.values).detach().numpy(), expected, atol=1e-5)


def test_members_that_vote_decide_by_their_majority():
    heads = {"task": Classification(classes=("a", "b", "c"))}
    members = [network(heads, seed) for seed in range(3)]
    votes = np.stack([one(inputs(40))["task"].values.argmax(-1).numpy() for one in members])
    found = Ensemble(members, heads, majority=["task"])(inputs(40))["task"].values
    counts = np.stack([(votes == label).sum(0) for label in range(3)])
    clear = counts.max(0) > 1
    assert clear.any()
    assert (found.argmax(-1).numpy()[clear] == counts.argmax(0)[clear]).all()


def test_a_task_is_combined_over_the_members_that_have_it_and_the_others_are_not_run_for_it():
    expression, units = HEADS["expression"], HEADS["action-units"]
    one, two = network({"expr": expression}, 1), network({"expr": expression, "au": units}, 2)
    asked = []
    one.register_forward_hook(lambda _module, given, _output: asked.append(list(given[1])))
    both = Ensemble([one, two], {"expr": expression, "au": units}, weights={"expr": [1.0, 0.0]})
    found = both(inputs(), ["au"])
    assert list(found) == ["au"]
    assert asked == []
    torch.testing.assert_close(found["au"].values, two(inputs(), ["au"])["au"].values)
    found = both(inputs())
    assert asked == [["expr"]]
    expected = one(inputs(), ["expr"])["expr"].values
    torch.testing.assert_close(expression.predictions(found["expr"].values), expression.predictions(expected))
    assert all(torch.isfinite(part).all() for output in found.values() for part in output[:2])


def test_features_of_members_stand_side_by_side():
    heads = {"task": HEADS["expression"]}
    members = [network(heads, seed) for seed in range(2)]
    found = Ensemble(members, heads)
    expected = torch.cat([one(inputs())["task"].features for one in members], 1)
    torch.testing.assert_close(found(inputs())["task"].features, expected)
    under = torch.cat([one.features(inputs(), ["task"])["task"] for one in members], 1)
    torch.testing.assert_close(found.features(inputs(), ["task"])["task"], under)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "a weight for each member"),
        ([0.0, 0.0], "one above 0"),
        ([-1.0, 2.0], "must not be negative"),
        ([float("nan"), 1.0], "must not be negative"),
    ],
)
def test_weights_that_cannot_be_scaled_are_refused(weights, message):
    heads = {"task": HEADS["expression"]}
    members = [network(heads, seed) for seed in range(2)]
    with pytest.raises(ValueError, match=message):
        Ensemble(members, heads, weights={"task": weights})


@pytest.mark.parametrize("majority", [False, True])
def test_an_ensemble_can_be_exported_for_any_number_of_rows(majority):
    names = ("expression", "action-units") if majority else tuple(HEADS)
    heads = {name.replace("-", "_"): HEADS[name] for name in names}
    both = Ensemble(
        [network(heads, seed) for seed in range(2)], heads, majority=heads if majority else ()
    ).eval()
    exported = torch.export.export(both, (inputs(4),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    for rows in (1, 4, 9):
        wanted, found = both(inputs(rows)), exported.module()(inputs(rows))
        for task, output in wanted.items():
            torch.testing.assert_close(found[task].values, output.values)
