"""Every mistake of the plugins in `tests/mutants` is caught, and each assertion of the kit catches one."""

from __future__ import annotations

import functools

import pytest

from mtl_toolkit.testing import ConformanceError
from mtl_toolkit.testing.check import GPU
from tests.mutants import (
    Mutant,
    architectures,
    backbones,
    balancers,
    datasets,
    heads,
    losses,
    metrics,
    samplers,
    temporals,
)
from tests.mutants.sites import all_sites, fired

KINDS = {
    "architecture": architectures,
    "backbone": backbones,
    "balancer": balancers,
    "dataset": datasets,
    "head": heads,
    "loss": losses,
    "metric": metrics,
    "sampler": samplers,
    "temporal": temporals,
}
pytestmark = [  # a mistake may be to leave a file open
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MUTANTS = [(kind, mutant) for kind, module in KINDS.items() for mutant in module.MUTANTS]


@functools.cache
def error_of(mutant: Mutant) -> BaseException:
    """What its check raises."""
    with pytest.raises(mutant.raises) as caught:
        mutant.check()()
    return caught.value


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(one, id=f"{kind}-{one.caught_by}: {one.mistake}") for kind, one in MUTANTS],
)
def test_the_mistake_is_caught(mutant):
    """The check fails, says the rule and where to read; a plugin's own error says where it came up."""
    check, error = mutant.check(), error_of(mutant)
    told = str(error) if isinstance(error, ConformanceError) else "\n".join(getattr(error, "__notes__", ()))
    assert check.rule in told
    assert check.page in told
    assert mutant.told in told


@pytest.mark.parametrize("kind", KINDS)
def test_every_check_of_a_kind_can_fail(kind):
    """Those of all recipes and of all networks are among them, so that no kind may forget them."""
    checks = {check.name for check in KINDS[kind].sound_checks()}
    assert checks - {mutant.caught_by for mutant in KINDS[kind].MUTANTS} <= {GPU}


def test_every_assertion_can_fail():
    """An assertion that no mistake makes fail would promise nothing; those that need a GPU are left out."""
    places = {place for _, mutant in MUTANTS for place in fired(error_of(mutant))}
    sites = [site for site in all_sites() if site.function != GPU.replace("-", "_")]
    assert [str(site) for site in sites if site.places().isdisjoint(places)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_sound_originals_pass(kind):
    """So that it is the mistake that is caught."""
    for check in KINDS[kind].sound_checks():
        check()
