"""The dataset keeps the rules of datasets, and its pictures show what its labels say."""

from collections.abc import Callable

import pytest
from mtl_toolkit import DataError, DataFacts, Samples
from mtl_toolkit.testing import check_dataset

from mtl_dots.count import Count
from mtl_dots.dots import Dots


@pytest.mark.parametrize("check", check_dataset(Dots(samples=20, missing=0.3), {"dots": Count()}))
def test_conformance(check: Callable[[], None]) -> None:
    check()


def opened(recipe: Dots, size: int = 16) -> Samples:
    """The dataset for one task."""
    return recipe.build(DataFacts({"dots": Count()}, size))


def test_a_picture_has_as_many_dots_as_its_label_says() -> None:
    """A dot is four white pixels, and none covers another."""
    samples = opened(Dots(samples=50))
    white = (samples.read(range(50))[:, 0] == 255).sum((1, 2))
    assert (white / 4).tolist() == samples.labels()["dots"].values[:, 0].tolist()


def test_the_share_that_is_missing_is_about_the_one_asked_for() -> None:
    labels = opened(Dots(samples=1000, missing=0.3)).labels()["dots"]
    assert 1 - labels.valid.mean() == pytest.approx(0.3, abs=0.05)


def test_pictures_without_room_are_refused() -> None:
    with pytest.raises(DataError, match=r"must be at least 12 pixels wide \(got 8\)"):
        opened(Dots(), size=8)
