"""The conformance kit itself: how checks are named, how they fail, where they point; and that ours use it."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import attrs
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mtl_affect.expression import Expression
from mtl_std.classification import Classification
from mtl_std.hdf5 import Hdf5
from mtl_std.regression import Regression
from mtl_std.samplers import Balanced
from mtl_std.timm_backbone import Timm
from torch import nn
from torch.distributions import Categorical, Independent

from mtl_toolkit import Head, HeadOutput, Labels, Loss, Registry, Temporal
from mtl_toolkit.testing import (
    Check,
    ConformanceError,
    check_architecture,
    check_backbone,
    check_balancer,
    check_dataset,
    check_head,
    check_loss,
    check_metric,
    check_recipe,
    check_sampler,
    check_temporal,
)
from mtl_toolkit.testing.check import page_of
from mtl_toolkit.testing.examples import Examples

ROOT = Path(__file__).parents[1]
KINDS = ("architecture", "backbone", "balancer", "dataset", "head", "loss", "metric", "sampler", "temporal")


@attrs.frozen(kw_only=True)
class Half(Loss):
    """A loss that ignores everything, then fails."""

    name: ClassVar[str] = "half"

    def build(self, head):
        def loss(output, target, mask):
            return {"a": 1}["b"]

        return loss


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


class TestCheck:
    def test_names_are_different_and_lists_are_made_without_building_anything(self):
        class Unbuildable(Classification):
            def build(self, features):
                raise AssertionError("built too early")

        names = [check.name for check in check_head(Unbuildable(classes=("a", "b")))]
        assert len(set(names)) == len(names)

    def test_pytest_shows_its_name(self):
        check = check_head(Expression())[0]
        assert check.__name__ == check.name == "loadable"

    def test_a_failure_says_what_is_expected_what_was_found_and_where_to_read(self):
        @attrs.frozen(kw_only=True)
        class Undocumented(Expression):
            """A head."""

            sharpness: float = 1.0

        check = by_name(check_recipe(Undocumented()))["documented"]
        with pytest.raises(ConformanceError) as caught:
            check()
        first, second, third = str(caught.value).splitlines()
        assert first == f"head 'expression': {check.rule} (field 'sharpness' has no doc)"
        assert (
            second
            == check.advice
            == "Say the unit too. `mtl plugins KIND/NAME` and the reference show nothing else."
        )
        assert third == f"see {page_of('recipe', 'documented')}"

    def test_an_error_of_the_plugin_keeps_its_type_and_says_where_it_came_up(self):
        check = by_name(check_loss(Half(), Expression()))["shape"]
        with pytest.raises(KeyError) as caught:
            check()
        assert caught.value.__notes__ == [f"while checking loss 'half': {check.rule}\nsee {check.page}"]

    def test_the_page_is_that_of_the_documentation_s_site_if_one_is_known(self, monkeypatch):
        class Known:
            def get_all(self, _key):
                return ["Source, https://example.org/source", "Documentation, https://example.org/docs/"]

        monkeypatch.setattr(metadata, "metadata", lambda _name: Known())
        assert page_of("head", "strata") == "https://example.org/docs/reference/conformance.html#head-strata"


def test_every_check_has_a_section_on_the_page_it_points_to():
    page = (ROOT / "docs/reference/conformance.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^### (.+)$", page, re.MULTILINE))
    heads = {"expr": Expression()}
    registry = Registry.load()
    recipe = {kind: registry.of_kind(kind)[0].recipe for kind in KINDS}
    # No field is given: what is listed does not depend on the recipe.
    made = {kind: recipe[kind].__new__(recipe[kind]) for kind in KINDS}
    checks = [
        *check_head(Expression()),
        *check_loss(made["loss"], Expression()),
        *check_metric(made["metric"], Expression()),
        *check_dataset(made["dataset"], heads),
        *check_sampler(made["sampler"], heads),
        *check_backbone(made["backbone"]),
        *check_architecture(made["architecture"]),
        *check_temporal(made["temporal"]),
        *check_balancer(made["balancer"]),
    ]
    assert {f"{check.topic} {check.name}" for check in checks} <= sections
    assert all(check.page.partition("#")[2].startswith(f"{check.topic}-{check.name} ") for check in checks)


@pytest.mark.parametrize("kind", KINDS)
def test_every_first_party_plugin_is_checked_by_its_own_package(kind):
    """Its class is handed to the kit's function for its kind, somewhere in its package's tests."""
    missing = []
    for plugin in Registry.load().of_kind(kind):
        folder = ROOT / "plugins" / plugin.source.distribution / "tests"
        if folder.is_dir():
            texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
            call = re.compile(rf"\b{plugin.recipe.__name__}\(|\brecipe\(")
            if not any(f"check_{kind}(" in text and call.search(text) for text in texts):
                missing.append(plugin.name)
    assert missing == []


class TestExamples:
    def test_labels_are_valid_and_half_of_them_are_what_the_outputs_say(self):
        head = Expression()
        rows = Examples(head).rows(40)
        right = head.estimate(rows.values) == rows.target
        assert right[::2].all()
        assert not right[1::2].all()

    def test_labels_given_are_drawn_from(self):
        head = Regression(range=(1900, 2000))
        labels = Labels(
            np.array([[1910.0], [1950.0], [0.0]], np.float32), np.array([[True], [True], [False]])
        )
        rows = Examples(head, labels).rows(20)
        assert set(rows.target[:, 0].tolist()) == {1910.0, 1950.0}

    def test_a_head_that_estimates_no_valid_label_asks_for_some(self):
        check = by_name(check_head(Regression(range=(1900, 2000))))["default-losses-conform"]
        with pytest.raises(ConformanceError, match=r"give some with labels=Labels\(values, valid\)"):
            check()

    def test_poison_lies_outside_the_mask_and_nowhere_else(self):
        head = Regression(axes=("x", "y"))
        rows = Examples(head).some_missing(30)
        poisoned = rows.poisoned()
        assert torch.equal(poisoned.target.isnan(), ~rows.mask)
        assert torch.equal(poisoned.values.isnan(), ~rows.mask)
        assert torch.equal(poisoned.features.isnan().all(1), ~rows.mask.any(1))
        assert torch.equal(poisoned.values[rows.mask], rows.values[rows.mask])


class Differences(nn.Module):
    """Each frame, and how it differs from the one before; nothing in it is learnt."""

    num_features = 32

    def forward(self, inputs, mask=None):
        if mask is not None:
            inputs = torch.where(mask[..., None], inputs, 0.0)
        return torch.cat([inputs, F.pad(inputs[:, 1:] - inputs[:, :-1], (0, 0, 1, 0))], dim=2)


@attrs.frozen(kw_only=True)
class Changes(Temporal):
    """A network without parameters."""

    name: ClassVar[str] = "changes"

    def build(self, features):
        return Differences()


@attrs.frozen(kw_only=True)
class FrozenBackbone(Timm):
    """A backbone of which nothing is trained."""

    name: ClassVar[str] = "frozen"

    def build(self, image_size, *, weights=True):
        return super().build(image_size, weights=weights).requires_grad_(requires_grad=False)


class ZeroStart(nn.Module):
    """A last layer that begins at zero, as is done for residual branches and for regression."""

    def __init__(self, features, outputs):
        super().__init__()
        self.last = nn.Linear(features, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features):
        return HeadOutput(self.last(features), features)


@attrs.frozen(kw_only=True)
class Levels(Classification):
    """Ordered classes from thresholds (Cao et al., 2020): a column less than there are classes."""

    name: ClassVar[str] = "levels"

    def build(self, features):
        return ZeroStart(features, len(self.classes) - 1)

    build_last = build

    @property
    def columns(self):
        return self.classes[1:]

    def estimate(self, values):
        return (values > 0).sum(-1)

    def predictions(self, values):
        return values.float().sigmoid()

    def decide(self, predictions):
        return (predictions > 0.5).sum(-1)

    def average(self, values, weights):
        shares = weights.log()[:, None, None]
        there, missing = ((F.logsigmoid(sign * values) + shares).logsumexp(0) for sign in (1, -1))
        return there - missing

    vote = Head.vote

    def distribution(self, values, temperature=1.0):
        above = (values.float() / temperature).sigmoid().cummin(-1).values
        padded = F.pad(above, (1, 0), value=1.0)
        shares = (padded - F.pad(above, (0, 1))).clamp(min=1e-6)
        return Categorical(probs=shares[:, None], validate_args=False)

    def default_losses(self):
        return (Thresholds(),)


@attrs.frozen(kw_only=True)
class Thresholds(Loss):
    """Cross-entropy of each threshold."""

    name: ClassVar[str] = "thresholds"

    def build(self, head):
        def loss(output, target, mask):
            values = torch.where(mask[:, None], output.values, 0.0)
            above = torch.where(mask, target, 0)[:, None] > torch.arange(
                values.shape[1], device=values.device
            )
            losses = F.binary_cross_entropy_with_logits(values, above.float(), reduction="none").mean(-1)
            return torch.where(mask, losses, 0.0).sum() / mask.sum().clamp(min=1)

        return loss


@attrs.frozen(kw_only=True)
class Contrastive(Loss):
    """Rows of one class attract each other (Khosla et al., 2020): the more rows, the larger it is."""

    name: ClassVar[str] = "contrastive"

    def build(self, head):
        def loss(output, target, mask):
            features = F.normalize(torch.where(mask[:, None], output.features, 0.0), dim=1)
            classes = torch.where(mask, target, -1)
            pairs = mask[:, None] & mask & ~torch.eye(len(mask), dtype=torch.bool)
            alike = pairs & (classes[:, None] == classes)
            logits = (features @ features.T / 0.5).masked_fill(~pairs, -1e9)
            likely = logits - logits.logsumexp(1, keepdim=True)
            per_row = torch.where(alike, likely, 0.0).sum(1) / alike.sum(1).clamp(min=1)
            return -torch.where(mask, per_row, 0.0).sum() / mask.sum().clamp(min=1)

        return loss


@attrs.frozen(kw_only=True)
class Skipped(FrozenBackbone):
    """Residual branches are left out at random in training (Huang et al., 2016)."""

    name: ClassVar[str] = "skipped"

    def build(self, image_size, *, weights=True):
        return RandomDepth()


class RandomDepth(nn.Module):
    num_features = 4

    def __init__(self):
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, inputs):
        features = self.stem(inputs)
        if not self.training or torch.rand(()) < 0.5:
            features = features + self.branch(features)
        return features.mean((2, 3))


@attrs.frozen(kw_only=True)
class Centres(Loss):
    """Distance to the centre of one's class (Wen et al., 2016), which is learnt."""

    name: ClassVar[str] = "centres"
    width: int = attrs.field(default=16, metadata={"doc": "features under the head's last layer"})

    def build(self, head):
        return CentreDistance(len(head.columns), self.width)


class CentreDistance(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, width))

    def forward(self, output, target, mask):
        features = torch.where(mask[:, None], output.features, 0.0)
        distance = (features - self.centres[torch.where(mask, target, 0)]).square().mean(1)
        return torch.where(mask, distance, 0.0).sum() / mask.sum().clamp(min=1)


@attrs.frozen(kw_only=True)
class JointAxes(Regression):
    """Both axes as one normal distribution, which has one unit."""

    name: ClassVar[str] = "joint"

    @property
    def units(self):
        return ("place",)

    @property
    def columns(self):
        return self.axes

    def unit_mask(self, mask):
        return mask.all(1, keepdim=True)

    def distribution(self, values, temperature=1.0):
        return Independent(super().distribution(values[:, None], temperature), 1)


@pytest.mark.parametrize(
    "checks",
    [
        pytest.param(check_loss(Centres(), Expression()), id="a loss with parameters on the features"),
        pytest.param(
            [check for check in check_head(JointAxes(axes=("x", "y"))) if "default" not in check.name],
            id="a distribution over two axes at once",
        ),
        pytest.param(check_head(Levels(classes=("none", "some", "much"))), id="a head of thresholds"),
        pytest.param(check_loss(Contrastive(), Expression()), id="a loss that grows with the rows"),
        pytest.param(check_backbone(Skipped(name="test_resnet")), id="layers left out at random"),
        pytest.param(
            check_sampler(
                Balanced(),
                {"year": Regression(range=(1900, 2000))},
                labels={"year": Labels(np.full((5, 1), 1950, np.float32), np.ones((5, 1), bool))},
            ),
            id="a sampler of labels that are given",
        ),
    ],
)
def test_unusual_plugins_that_are_sound_conform(checks):
    for check in checks:
        check()


def test_paths_of_a_recipe_may_go_up():
    recipe = Hdf5(path=Path(__file__).parent / ".." / "faces.h5")
    for check in check_recipe(recipe):
        check()


@pytest.mark.parametrize(
    "checks", [check_temporal(Changes()), check_backbone(FrozenBackbone(name="test_resnet"), image_size=32)]
)
def test_a_network_without_anything_to_train_conforms(checks):
    for check in checks:
        check()
