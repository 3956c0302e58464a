"""Every head and metric of this package, and the rendered datasets, pass the checks of their kind.

Those of the databases are in the databases' own tests, which write their trees.
"""

from __future__ import annotations

import pytest
from mtl_affect.action_units import ActionUnits
from mtl_affect.appearance import Appearance
from mtl_affect.combined import Combined
from mtl_affect.dan.backbone import Dan
from mtl_affect.dan.losses import Affinity, Partition
from mtl_affect.distribution_matching import DistributionMatching
from mtl_affect.expression import Expression, ExpressionScore
from mtl_affect.identity import Identity
from mtl_affect.metrics import ActionUnitScore, ValenceArousalScore
from mtl_affect.submissions.abaw2 import Abaw2
from mtl_affect.submissions.abaw5 import Abaw5
from mtl_affect.submissions.lsd import LsdSubmission
from mtl_affect.submissions.mtl import MultiTask
from mtl_affect.synthetic_faces import SyntheticFaces
from mtl_affect.synthetic_videos import SyntheticVideos
from mtl_affect.valence_arousal import ValenceArousal

from mtl_toolkit.testing import (
    check_backbone,
    check_dataset,
    check_head,
    check_loss,
    check_metric,
    check_recipe,
)

TASKS = {"expr": Expression(), "va": ValenceArousal(), "units": ActionUnits()}
PEOPLE = {"look": Appearance(), "who": Identity(people=4)}

TINY = {"channels": [4, 4, 8, 16], "stem_width": 4}
DAN = {"pooled": (6,), "heads": (4, 6)}  # what the backbone gives beside its features, of a row

CHECKS = [
    *check_head(Expression()),
    *check_head(Expression(soft=True)),
    *check_head(ValenceArousal()),
    *check_head(ActionUnits()),
    *check_head(Appearance()),
    *check_head(Identity(people=20)),
    *check_head(Combined(tasks=("expr", "va"))),
    *check_backbone(Dan(name="resnet10t", options=TINY)),
    *check_backbone(Dan(name="resnet10t", options=TINY, attention_heads=1, freeze="all")),
    *check_loss(Affinity(), Expression(), extras=DAN),
    *check_loss(Affinity(), Expression(soft=True), extras=DAN),
    *check_loss(Partition(), Expression(), extras=DAN),
    *check_loss(Partition(mean_of="logarithms"), Expression(), extras=DAN),
    *check_loss(Partition(), ActionUnits(), extras=DAN),
    *check_loss(DistributionMatching(), {"expr": Expression(), "aus": ActionUnits()}),
    *check_loss(
        DistributionMatching(target="action-units", detach=True),
        {"expr": Expression(classes=("happiness", "other", "fear")), "aus": ActionUnits()},
        without_gradient=["aus"],
    ),
    *check_metric(ExpressionScore(), Expression()),
    *check_metric(ValenceArousalScore(), ValenceArousal()),
    *check_metric(ActionUnitScore(), ActionUnits()),
    *check_dataset(SyntheticFaces(samples=24, labels=("expression",)), TASKS),
    *check_dataset(SyntheticFaces(samples=24, style="film"), TASKS),
    *check_dataset(SyntheticFaces(samples=24, labels=("appearance", "identity")), PEOPLE),
    *check_dataset(SyntheticVideos(videos=3, frames=8), TASKS),
    *check_dataset(SyntheticVideos(videos=3, frames=8, labels=("appearance", "identity")), PEOPLE),
    *check_recipe(Abaw2()),
    *check_recipe(Abaw5(task="expr")),
    *check_recipe(MultiTask()),
    *check_recipe(LsdSubmission()),
]


@pytest.mark.parametrize("check", [pytest.param(one, id=f"{one.plugin}-{one.name}") for one in CHECKS])
def test_conforms(check):
    check()
