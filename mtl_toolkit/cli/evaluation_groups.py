"""The groups that `mtl evaluate --by` judges: columns of a dataset, cut into bands or crossed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import attrs

from ..errors import DataError, UserError, suggestion

if TYPE_CHECKING:
    from ..evaluation import Groups
    from ..samples import Samples

MOST_VALUES = 30  # a column with more is no grouping: an age, a file


@attrs.frozen
class GroupColumn:
    """A column, and the numbers at which its own are cut; none for a group per value."""

    name: str
    cuts: tuple[float, ...] = ()


@attrs.frozen
class By:
    """One `--by`: the columns that are crossed, and how it was written."""

    text: str
    columns: tuple[GroupColumn, ...]


def parse_by(texts: Sequence[str]) -> list[By]:
    """Read `gender`, `age=18,40` and `gender*age=18,40`; one that comes again is left out.

    Raises:
        UserError: if a column is not named, or cuts are no ascending numbers.
    """
    return [By(text, tuple(_column(text, part) for part in text.split("*"))) for text in dict.fromkeys(texts)]


def _column(text: str, part: str) -> GroupColumn:
    name, equals, listed = (piece.strip() for piece in part.partition("="))
    if not name:
        raise UserError(f"--by {text}: must name a column, as in --by gender")
    if not equals:
        return GroupColumn(name)
    try:
        cuts = tuple(float(cut) for cut in listed.split(","))
    except ValueError:
        cuts = ()
    if not cuts or any(not low < high for low, high in zip(cuts, (*cuts[1:], float("inf")), strict=True)):
        raise UserError(
            f"--by {text}: cuts must be ascending numbers, as in --by age=18,40,65 (got {listed!r})"
        )
    return GroupColumn(name, cuts)


def groups_of(samples: Samples, dataset: str, wanted: Sequence[By]) -> dict[str, Groups]:
    """The group of each sample, by how it was written.

    Raises:
        UserError: if the dataset lacks a column, or it has too many values, or others than numbers to cut.
    """
    return {by.text: _groups(samples, dataset, by) for by in wanted}


def _groups(samples: Samples, dataset: str, by: By) -> Groups:
    parts = (_of_column(samples, dataset, by.text, column) for column in by.columns)
    return reduce(lambda one, other: one.crossed(other), parts)


def _of_column(samples: Samples, dataset: str, text: str, column: GroupColumn) -> Groups:
    from ..evaluation import Groups

    values = samples.column(column.name)
    if values is None:
        hint = suggestion(column.name, samples.column_names())
        raise UserError(f"--by {text}: dataset {dataset!r} has no column {column.name!r}{hint}")
    place = f"--by {text}: column {column.name!r} of dataset {dataset!r}"
    if column.cuts:
        try:
            return Groups.bands(values, column.cuts)
        except DataError as error:
            raise UserError(f"{place} {error}") from None
    found = Groups.of(values)
    if len(found.names) > MOST_VALUES:
        raise UserError(
            f"{place} must have at most {MOST_VALUES} different values (got {len(found.names)}, such as "
            f"{found.names[0]!r}); numbers can be cut into bands, as in --by age=18,40,65"
        )
    return found
