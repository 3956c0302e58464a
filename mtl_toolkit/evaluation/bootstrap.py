"""Intervals of metrics by resampling whole videos (Efron, 1979: percentile intervals)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import attrs
import numpy as np

from .metric_states import Place, read_states, summed_states, write_states
from .scoring import LiveScore, TaskRows
from .videos import resampling_units

REDRAWN_ROWS = 20_000_000  # rows read again, over all draws, for a metric whose state is not a sum
FEWEST_DRAWS = 100  # with fewer, the ends of a 95 % interval mean nothing
TAILS = (2.5, 97.5)  # percentiles at the ends of the interval

Interval = tuple[float, float]


@attrs.frozen(eq=False)
class UnitRows:
    """The rows of one task, sorted so that those of a resampling unit lie together.

    Attributes:
        rows: the rows.
        names: the video of each unit, '' for single pictures.
        bounds: unit k has the rows from bounds[k] to bounds[k + 1]; int64 [units + 1].
    """

    rows: TaskRows
    names: tuple[str, ...]
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def unit(self, number: int) -> TaskRows:
        """The rows of one unit."""
        return self.rows.take(slice(*self.bounds[number : number + 2]))

    def drawn(self, weights: np.ndarray) -> TaskRows:
        """The rows of the units, each as often as its weight says: int64 [units]."""
        spans = [
            np.arange(*self.bounds[unit : unit + 2]) for unit in np.repeat(np.arange(len(self)), weights)
        ]
        return self.rows.take(np.concatenate(spans))


@attrs.frozen(eq=False)
class UnitScores:
    """One metric, unit by unit.

    Attributes:
        pooled: the values over all rows.
        videos: the values in each video.
        intervals: by name, 95 % intervals; None where there are none.
        warnings: what to tell about them.
    """

    pooled: Mapping[str, float]
    videos: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Interval | None]
    warnings: tuple[str, ...]


def by_unit(rows: TaskRows, videos: np.ndarray, seed: int) -> UnitRows:
    """Sort the rows of a task by video; `videos` names that of each row, '' for a single picture."""
    names, units = resampling_units(videos, seed)
    order = np.argsort(units, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(units, minlength=len(names)))])
    return UnitRows(rows.take(order), names, bounds)


def draw_weights(units: int, draws: int, seed: int) -> np.ndarray:
    """How often each unit is drawn, when as many as there are are drawn with replacement: [draws, units]."""
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=draws)


def score_units(score: LiveScore, units: UnitRows, draws: int, seed: int) -> UnitScores:
    """The values of a metric over all rows and in each video, with intervals.

    A metric whose states are sums (counts, moments) reads every row twice, however many draws there are: a
    draw's state is the weighted sum of its units' states. Another reads the rows of every draw.
    """
    pooled = score.of(units.rows)
    places = summed_states(score.metric)
    videos, states = _read_units(score, units, places, tuple(pooled))
    if len(units) < 2 or draws == 0:
        return UnitScores(pooled, videos, dict.fromkeys(pooled), ())
    if places and states is not None and _adds_up(score, places, states, pooled):
        combined = draw_weights(len(units), draws, seed) @ states
        found = _table((_computed(score, places, numbers, tuple(pooled)) for numbers in combined), pooled)
        return UnitScores(pooled, videos, _intervals(found), ())
    possible = min(draws, REDRAWN_ROWS // len(units.rows))
    told = _told(score.name, possible, draws, len(units.rows))
    if possible < min(draws, FEWEST_DRAWS):
        return UnitScores(pooled, videos, dict.fromkeys(pooled), told)
    weights = draw_weights(len(units), possible, seed)
    found = _table((_of_draw(score, units.drawn(drawn), tuple(pooled)) for drawn in weights), pooled)
    return UnitScores(pooled, videos, _intervals(found), told)


def _read_units(
    score: LiveScore, units: UnitRows, places: Sequence[Place] | None, names: Sequence[str]
) -> tuple[dict[str, dict[str, float]], np.ndarray | None]:
    """The values in each video, and the states of each unit, [units, numbers], where they are sums."""
    videos, states = {}, []
    for number, name in enumerate(units.names):
        if name or places:
            score.feed(units.unit(number))
        if places:
            states.append(read_states(places))
        if name:
            videos[name] = _compute(score, names)
    same_size = len({len(numbers) for numbers in states}) == 1
    return videos, np.stack(states) if same_size else None


def _adds_up(
    score: LiveScore, places: Sequence[Place], states: np.ndarray, pooled: Mapping[str, float]
) -> bool:
    """Whether the states say all that the metric knows: a metric may keep something beside them."""
    found = _computed(score, places, states.sum(0), tuple(pooled))
    return np.allclose([found[name] for name in pooled], list(pooled.values()), rtol=1e-5, equal_nan=True)


def _computed(
    score: LiveScore, places: Sequence[Place], numbers: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    write_states(places, numbers)
    return _compute(score, names)


def _of_draw(score: LiveScore, rows: TaskRows, names: Sequence[str]) -> dict[str, float]:
    score.feed(rows)
    return _compute(score, names)


def _compute(score: LiveScore, names: Sequence[str]) -> dict[str, float]:
    """The values, NaN where the metric is not defined on so few rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a video without this or that class is no news
        try:
            return score.compute()
        except ValueError:
            return dict.fromkeys(names, float("nan"))


def _table(found: Iterable[Mapping[str, float]], names: Iterable[str]) -> dict[str, np.ndarray]:
    draws = list(found)
    return {name: np.array([values[name] for values in draws]) for name in names}


def _intervals(found: Mapping[str, np.ndarray]) -> dict[str, Interval | None]:
    """Percentile intervals over the draws in which a value is defined."""
    result: dict[str, Interval | None] = {}
    for name, values in found.items():
        known = values[~np.isnan(values)]
        low, high = np.percentile(known, TAILS) if len(known) else (np.nan, np.nan)
        result[name] = (float(low), float(high)) if len(known) else None
    return result


def _told(metric: str, possible: int, draws: int, rows: int) -> tuple[str, ...]:
    if possible >= draws:
        return ()
    got = f"from {possible} draws instead of {draws}" if possible >= FEWEST_DRAWS else "left out"
    return (
        f"metric {metric!r}: intervals are {got}: its state is no sum, so that every draw reads {rows} rows",
    )
