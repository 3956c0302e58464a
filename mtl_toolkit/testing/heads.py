"""What holds for heads."""

from __future__ import annotations

import json
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, kl_divergence

from ..batch import Features, HeadOutput, Labels
from ..errors import ConfigError
from ..plugin import Head
from ..seeding import seeded
from .check import Broken, Check, Rule, checks_of, expect, expect_equal, expect_finite, name_of, runnable
from .examples import FEATURES, worst_of
from .head_ensembles import ENSEMBLE_RULES
from .head_trial import INTERVAL, HeadTrial, parameters_of, support_of
from .loss_trial import LossTrial
from .losses import LOSS_RULES
from .metrics import METRIC_RULES, MetricTrial
from .modules import module_rules, named
from .own_targets import OWN_TARGET_RULES
from .recipes import check_recipe

T = TypeVar("T")


def check_head(recipe: Head, *, labels: Labels | None = None, inputs: Tensor | None = None) -> list[Check]:
    """The checks of a head: its layers, what it says of its outputs, and its default losses and metrics.

    A combined head, which has no outputs, is only checked as a recipe, and for its facts.

    Args:
        recipe: the head.
        labels: valid labels to try it on; by default made from its own estimates of random outputs, or of
            inputs, if it makes its targets of these.
        inputs: what a self-supervised head makes targets of, seven rows at least; by default pictures of
            32 x 32 pixels.
    """
    trial = HeadTrial(recipe, labels, inputs)
    common = [*check_recipe(recipe), *checks_of(recipe, trial, FACT_RULES)]
    if recipe.members:
        return common
    layers = checks_of(recipe, trial.layers(), module_rules(inputs_learn=True), "network")
    return [*common, *checks_of(recipe, trial, HEAD_RULES), *layers]


def facts(trial: HeadTrial) -> None:
    """Units and columns are different names, the target has a shape and type, `meaning()` is plain JSON.

    The checkpoint keeps the meaning, and a teacher must mean the same; so it stays the same too.
    """
    head = trial.recipe
    for what, found in (("units", head.units), ("columns", head.columns)):
        strings = isinstance(found, tuple) and all(isinstance(one, str) and one for one in found)
        expect(strings and len(set(found)) == len(found), f"{what} is {found!r}")
    expect(bool(head.units) != bool(head.members), f"units is {head.units!r}, members is {head.members!r}")
    plain = isinstance(head.target_shape, tuple) and all(type(one) is int for one in head.target_shape)
    expect(plain, f"target_shape is {head.target_shape!r}")
    expect(isinstance(head.target_dtype, np.dtype), f"target_dtype is {head.target_dtype!r}")
    expect(head.combine in ("sum", "mean"), f"combine is {head.combine!r}")
    expect(isinstance(head.label, str) and head.label, f"label is {head.label!r}")
    try:
        again = json.loads(json.dumps(head.meaning(), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Broken(f"meaning(): {error}") from None
    expect(again == head.meaning(), f"meaning() comes back from JSON as {again!r}")


def shape(trial: HeadTrial) -> None:
    """`build` and `build_last` map float [rows, features] to a `HeadOutput` of floats, for any rows."""
    for build in (trial.recipe.build, trial.recipe.build_last):
        with seeded():
            module = build(FEATURES).eval()
        for rows in (1, 2, 7):
            with torch.no_grad():
                output = module(torch.zeros(rows, FEATURES))
            expect(isinstance(output, HeadOutput), f"{build.__name__} gives {type(output).__name__}")
            parts = {"values": output.values, **named("features", Features(output.features, output.extras))}
            for name, part in parts.items():
                expect(part.is_floating_point(), f"{name} are {part.dtype}")
                expect(len(part) == rows, f"{name} of {rows} rows have shape {tuple(part.shape)}")
            expect(output.features.ndim == 2, f"features have shape {tuple(output.features.shape)}")


def default_parts(trial: HeadTrial) -> None:
    """There are default losses and metrics, and `default_selection` weighs what these metrics report."""
    head = trial.recipe
    expect(head.default_losses(), "there is no default loss")
    expect(head.default_metrics(), "there is no default metric")
    known = [name for metric in head.default_metrics() for name in metric.outputs(head)]
    expect(len(set(known)) == len(known), f"two default metrics report one name: {known}")
    for name in head.default_selection():
        expect(name in known, f"{name!r} is selected, the metrics report {', '.join(known)}")


def default_losses_conform(trial: HeadTrial) -> None:
    """The default losses pass the checks of losses on this head."""
    for loss in trial.recipe.default_losses():
        _try_all(f"loss {loss.name!r}", LossTrial(loss, trial.recipe, trial.given), LOSS_RULES)


def default_metrics_conform(trial: HeadTrial) -> None:
    """The default metrics pass the checks of metrics on this head."""
    for metric in trial.recipe.default_metrics():
        _try_all(f"metric {metric.name!r}", MetricTrial(metric, trial.recipe, trial.given), METRIC_RULES)


def unit_mask(trial: HeadTrial) -> None:
    """`unit_mask` turns a mask in the shape of the targets into bool [rows, units]."""
    head, rows = trial.recipe, trial.examples.rows(6)
    units = (6, len(head.units))
    for wanted in (torch.ones(6), torch.zeros(6), torch.tensor([1, 0, 0, 1, 0, 1])):
        there = wanted.bool()
        mask = there.reshape(6, *[1] * (rows.mask.ndim - 1)).expand(rows.mask.shape).clone()
        found = head.unit_mask(mask)
        kind = f"{found.dtype} {tuple(found.shape)}"
        expect(found.shape == units and found.dtype == torch.bool, f"gives {kind} for {units[1]} units")
        right = torch.equal(found, there[:, None].expand(units))
        expect(right, f"labelled rows {there.tolist()} become {found.any(1).tolist()}")


def estimate_in_range(trial: HeadTrial) -> None:
    """What a head estimates is finite, and a valid label where its outputs can only mean such.

    That is where the distribution has a bounded support: classes, yes or no, bins. Very confident outputs
    are tried too.
    """
    head = trial.recipe
    for scale in (1.0, 30.0):
        values = trial.values(9, scale)
        estimate = head.estimate(values)
        ids = head.target_shape == () or len(head.columns) > len(head.units)
        shapes = {(9, len(head.units)), (9, *head.target_shape), *([(9,)] if ids else [])}
        expect(
            tuple(estimate.shape) in shapes, f"of shape {tuple(estimate.shape)}, which is none of {shapes}"
        )
        support = support_of(head.distribution(values))
        if scale > 1 and support in (constraints.real, None):
            continue  # an unbounded scale: nothing says how far is too far
        expect_finite([estimate], "the estimate")
        bounded = isinstance(support, INTERVAL) or support is constraints.boolean
        if bounded and estimate.numel() == 9 * np.prod(head.target_shape):
            found = estimate.reshape(9, *head.target_shape).numpy().astype(head.target_dtype)
            problem = head.check_labels(Labels(found, np.ones(found.shape, np.bool_)))
            expect(problem is None, f"check_labels says of an estimate: {problem}")


def estimate_is_pure(trial: HeadTrial) -> None:
    """`estimate`, `predictions` and `distribution` look at one row at a time, and write into nothing."""
    head, values = trial.recipe, trial.values(5)
    before = values.clone()
    for say in (head.estimate, head.predictions, lambda given: parameters_of(head.distribution(given))):
        whole = say(values)
        expect_equal(say(values[3:4])[0], whole[3], "what is said of a row alone and among others")
        expect(torch.equal(values, before), "the outputs are written into")


def predictions_and_decisions(trial: HeadTrial) -> None:
    """`predictions` gives float32 [rows, columns], and `decide` turns them into what `estimate` says.

    A head without columns decides nothing.
    """
    head, values = trial.recipe, trial.values(9)
    shape = (9, len(head.columns))
    try:
        found = head.predictions(values)
    except RuntimeError as error:
        raise Broken(f"predictions() cannot be had in shape {shape}: {error}") from None
    expect(found.shape == shape, f"predictions of shape {tuple(found.shape)} for {shape[1]} columns")
    expect(found.dtype == torch.float32, f"predictions are {found.dtype}")
    if not head.columns:
        return  # nothing is predicted of a row that could be decided on
    decided = torch.from_numpy(np.asarray(head.decide(found.numpy())))
    wanted = head.estimate(values)
    if decided.numel() == wanted.numel():
        decided = decided.reshape(wanted.shape)
    expect_equal(decided, wanted, "decided and estimated")


def distribution_is_valid(trial: HeadTrial) -> None:
    """`distribution` has batch shape [rows, units], is finite, and has no distance to itself (KL).

    Distillation is made of it. Very confident outputs are tried too.
    """
    head, units = trial.recipe, len(trial.recipe.units)
    for scale in (1.0, 20.0):
        values = trial.values(7, scale)
        found = head.distribution(values)
        expect(isinstance(found, Distribution), f"it is a {type(found).__name__}")
        expect(
            found.batch_shape == (7, units),
            f"its batch shape is {tuple(found.batch_shape)}, of {units} units",
        )
        expect_finite([parameters_of(found)], "its parameters")
        if scale == 1.0:
            itself = kl_divergence(found, head.distribution(values))
            expect_equal(itself, torch.zeros(7, units), "KL to itself")
            apart = kl_divergence(found, head.distribution(trial.values(7, seed=1)))
            expect(
                bool((apart > -1e-6).all()) and float(apart.sum()) > 0, "KL to another one is not above zero"
            )


def temperature_softens(trial: HeadTrial) -> None:
    """A higher temperature brings the distributions of different outputs nearer to each other."""
    head = trial.recipe
    one, other = trial.values(32), trial.values(32, seed=1)
    apart = [
        float(kl_divergence(head.distribution(one, t), head.distribution(other, t)).sum()) for t in (1, 4)
    ]
    expect(apart[1] < apart[0], f"their KL is {apart[0]:g} at 1 and {apart[1]:g} at 4")


def checks_labels(trial: HeadTrial) -> None:
    """`check_labels` looks at valid labels only, and refuses NaN and ids of classes that there are not.

    NaN is neither below nor above anything: `(values < 0) | (values > 1)` lets it pass.
    """
    head, labels = trial.recipe, trial.labels
    worst = worst_of(labels.values)
    problem = head.check_labels(Labels(np.where(labels.valid, labels.values, worst), labels.valid))
    expect(problem is None, f"of {worst.flat[0]} outside the mask it says: {problem}")
    for wrong in _wrong_labels(trial, labels):
        values = labels.values.copy()
        values[labels.complete()] = wrong
        found = head.check_labels(Labels(values, labels.valid))
        expect(isinstance(found, str) and found, f"of a valid label {wrong} it says {found!r}")


def strata(trial: HeadTrial) -> None:
    """`strata` are int64 [samples], -1 where the label is missing and only there; or a ConfigError."""
    labels = trial.labels
    try:
        found = trial.recipe.strata(labels)
    except ConfigError:
        return
    complete = labels.complete()
    expect(found.shape == (len(labels),), f"their shape is {found.shape}")
    expect(found.dtype == np.int64, f"they are {found.dtype}")
    expect((found[complete] >= 0).all(), "a sample with a label has none")
    expect((found[~complete] == -1).all(), f"samples without a label have {found[~complete].tolist()}")
    changed = labels.values.copy()
    changed[~labels.valid] = 1
    again = trial.recipe.strata(Labels(changed, labels.valid))
    expect((again == found).all(), "they change with what lies outside the mask")


def tells_of_labels(trial: HeadTrial) -> None:
    """`summary` is plain JSON and `describe_label` a text, '' where the label is missing."""
    head, labels = trial.recipe, trial.labels
    for some in (labels, Labels(labels.values, np.zeros_like(labels.valid))):
        try:
            json.dumps(head.summary(some), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Broken(f"summary(): {error}") from None
        for value, valid in zip(some.values, some.valid, strict=True):
            text = head.describe_label(value, valid)
            expect(isinstance(text, str), f"describe_label gives {text!r}")
            expect(text == "" or valid.any(), f"of a missing label it says {text!r}")


FACT_RULES: tuple[Rule[HeadTrial], ...] = (facts,)
HEAD_RULES: tuple[Rule[HeadTrial], ...] = (
    shape,
    default_parts,
    default_losses_conform,
    default_metrics_conform,
    unit_mask,
    estimate_in_range,
    estimate_is_pure,
    predictions_and_decisions,
    distribution_is_valid,
    temperature_softens,
    checks_labels,
    strata,
    tells_of_labels,
    *ENSEMBLE_RULES,
    *OWN_TARGET_RULES,
)


def _try_all(what: str, trial: T, rules: tuple[Rule[T], ...]) -> None:
    for rule in runnable(rules):
        try:
            rule(trial)
        except Broken as found:
            raise Broken(f"{what}, {name_of(rule)}: {found}") from None


def _wrong_labels(trial: HeadTrial, labels: Labels) -> list[float]:
    """NaN; of ids of classes, the first outside on both sides."""
    kind = labels.values.dtype.kind
    unknown = [np.nan] if kind == "f" else []
    support = support_of(trial.recipe.distribution(trial.values(2)))
    if trial.recipe.target_shape or not isinstance(support, INTERVAL):
        return unknown
    beyond = int(torch.as_tensor(support.upper_bound).max()) + 1
    return [*unknown, beyond] if kind == "u" else [*unknown, -1, beyond]
