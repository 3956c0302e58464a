"""The recipes that plugins are made of, by kind."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Recipe
from .data import DataFacts, Dataset, Sampler
from .network import Architecture, Backbone, Balancer, Chain, Temporal
from .prediction import Detector, Listing, PostProcessor, Predictions, Writer
from .task import CouplingLoss, Head, Loss, Metric, TeacherLoss

__all__ = [
    "KINDS",
    "Architecture",
    "Backbone",
    "Balancer",
    "Chain",
    "CouplingLoss",
    "DataFacts",
    "Dataset",
    "Detector",
    "Head",
    "Listing",
    "Loss",
    "Metric",
    "PostProcessor",
    "Predictions",
    "Recipe",
    "Sampler",
    "TeacherLoss",
    "Temporal",
    "Writer",
]

KINDS: Mapping[str, type[Recipe]] = {
    recipe.kind: recipe
    for recipe in (
        Architecture,
        Backbone,
        Balancer,
        Dataset,
        Detector,
        Head,
        Loss,
        Metric,
        PostProcessor,
        Sampler,
        Temporal,
        Writer,
    )
}
