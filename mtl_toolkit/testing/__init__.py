"""Checks that every plugin must pass, for the tests of plugin packages.

Each function gives a list of checks for pytest's parametrize; nothing is built before a check is called:

    @pytest.mark.parametrize("check", check_head(MyHead()))
    def test_my_head_conforms(check):
        check()
"""

from .architectures import check_architecture
from .backbones import check_backbone
from .balancers import check_balancer
from .check import Check, ConformanceError
from .datasets import check_dataset
from .heads import check_head
from .losses import check_loss
from .metrics import check_metric
from .recipes import check_recipe
from .samplers import check_sampler
from .temporals import check_temporal

__all__ = [
    "Check",
    "ConformanceError",
    "check_architecture",
    "check_backbone",
    "check_balancer",
    "check_dataset",
    "check_head",
    "check_loss",
    "check_metric",
    "check_recipe",
    "check_sampler",
    "check_temporal",
]
