"""The conformance kit: every check, by what it is about."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from mtl_toolkit.testing import (
    architectures,
    backbones,
    balancers,
    datasets,
    heads,
    losses,
    metrics,
    modules,
    recipes,
    samplers,
    temporals,
)
from mtl_toolkit.testing.check import Rule, name_of

INTRODUCTION = """\
# Conformance checks

`mtl_toolkit.testing` has what every plugin must do, as checks for the tests of plugin packages:

```py
import pytest
from mtl_dots import Count

from mtl_toolkit.testing import check_head


@pytest.mark.parametrize("check", check_head(Count()))
def test_count_conforms(check):
    check()
```

A check that fails says what is expected, what was found, and which section of this page explains it. \
[The functions](api/testing.md) take the plugin and, where it needs one, a head or labels. A check's name \
stays the same from release to release; a minor release may add checks.

Every assertion of these checks is known to fail for a mistake of its own: the tests of this repository \
hold a list of them.
"""

TOPICS: dict[str, tuple[str, Iterable[Rule[Any]]]] = {
    "recipe": ("Recipes of every kind", recipes.RULES),
    "network": (
        "Networks: heads, backbones, architectures, temporal networks",
        modules.module_rules(),
    ),
    "head": ("Heads", (*heads.FACT_RULES, *heads.HEAD_RULES)),
    "loss": ("Losses", losses.LOSS_RULES),
    "coupling": ("Losses that couple tasks", losses.COUPLING_RULES),
    "metric": ("Metrics", metrics.METRIC_RULES),
    "dataset": ("Datasets", datasets.DATASET_RULES),
    "sampler": ("Samplers", samplers.SAMPLER_RULES),
    "backbone": ("Backbones", backbones.BACKBONE_RULES),
    "architecture": ("Architectures", architectures.ARCHITECTURE_RULES),
    "temporal": ("Temporal networks", temporals.TEMPORAL_RULES),
    "balancer": ("Balancers", balancers.BALANCER_RULES),
}


def conformance_page() -> str:
    """Every check; a section's address is that of the messages."""
    text = INTRODUCTION
    for topic, (title, rules) in TOPICS.items():
        text += f"\n## {title}\n"
        for rule in rules:
            text += f"\n### {topic} {name_of(rule)}\n\n{inspect.getdoc(rule)}\n"
    return text
