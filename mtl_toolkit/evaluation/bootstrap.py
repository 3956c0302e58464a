"""Intervals of metrics by resampling whole videos (Efron, 1979: percentile intervals)."""

from __future__ import annotations

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
        """The rows of the units, each as often as its weight says: int64 [units]; there may be none."""
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
        draws: by name, the value in each draw, NaN where it is not defined: [draws]; empty where there are
            no intervals.
        warnings: what to tell about them.
    """

    pooled: Mapping[str, float]
    videos: Mapping[str, Mapping[str, float]]
    draws: Mapping[str, np.ndarray]
    warnings: tuple[str, ...]

    @property
    def intervals(self) -> dict[str, Interval | None]:
        """By name, 95 % intervals; None where there are none."""
        return {name: percentiles(values) for name, values in self.draws.items()}


def by_unit(rows: TaskRows, videos: np.ndarray, seed: int) -> UnitRows:
    """Sort the rows of a task by video; `videos` names that of each row, '' for a single picture."""
    return in_units(rows, *resampling_units(videos, seed))


def in_units(rows: TaskRows, names: tuple[str, ...], units: np.ndarray) -> UnitRows:
    """Sort rows by resampling unit, of which some may have none; `units` is each row's: int64 [rows]."""
    order = np.argsort(units, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(units, minlength=len(names)))])
    return UnitRows(rows.take(order), names, bounds)


def filled_units(units: UnitRows) -> int:
    """The number of units that have rows."""
    return int(np.count_nonzero(np.diff(units.bounds)))


def draw_weights(units: int, draws: int, seed: int) -> np.ndarray:
    """How often each unit is drawn, when as many as there are are drawn with replacement: [draws, units]."""
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=draws)


def score_units(
    score: LiveScore, units: UnitRows, draws: int, seed: int, names: Sequence[str] = ()
) -> UnitScores:
    """The values of a metric over all rows and in each video, with those of every draw.

    With `names`, those of the values, one that is not defined on the rows is NaN instead of an error.

    A metric whose states are sums (counts, moments) reads every row twice, however many draws there are: a
    draw's state is the weighted sum of its units' states. Another reads the rows of every draw.
    """
    pooled = score.of_some(units.rows, names) if names else score.of(units.rows)
    places = summed_states(score.metric)
    videos, states = _read_units(score, units, places, tuple(pooled))
    if filled_units(units) < 2 or draws == 0:
        return UnitScores(pooled, videos, _table((), pooled), ())
    weights = draw_weights(len(units), draws, seed)
    if places and states is not None and _adds_up(score, places, states, pooled):
        lengths, combined = weights @ np.diff(units.bounds), weights @ states
        found = (
            _computed(score, places, numbers, tuple(pooled)) if rows else _undefined(pooled)
            for rows, numbers in zip(lengths.tolist(), combined, strict=True)
        )
        return UnitScores(pooled, videos, _table(found, pooled), ())
    possible = min(draws, REDRAWN_ROWS // len(units.rows))
    told = _told(score.name, possible, draws, len(units.rows))
    if possible < min(draws, FEWEST_DRAWS):
        return UnitScores(pooled, videos, _table((), pooled), told)
    drawn = (units.drawn(one) for one in draw_weights(len(units), possible, seed))
    found = (score.of_some(rows, tuple(pooled)) if len(rows) else _undefined(pooled) for rows in drawn)
    return UnitScores(pooled, videos, _table(found, pooled), told)


def _read_units(
    score: LiveScore, units: UnitRows, places: Sequence[Place] | None, names: Sequence[str]
) -> tuple[dict[str, dict[str, float]], np.ndarray | None]:
    """The values in each video, and the states of each unit, [units, numbers], where they are sums."""
    videos, states = {}, []
    for number, name in enumerate(units.names):
        rows = units.unit(number)
        if name or places:
            score.feed(rows)
        if places:
            states.append(read_states(places))
        if name and len(rows):
            videos[name] = score.compute_some(names)
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
    return score.compute_some(names)


def _undefined(names: Iterable[str]) -> dict[str, float]:
    return dict.fromkeys(names, float("nan"))


def _table(found: Iterable[Mapping[str, float]], names: Iterable[str]) -> dict[str, np.ndarray]:
    draws = list(found)
    return {name: np.array([values[name] for values in draws]) for name in names}


def percentiles(values: np.ndarray) -> Interval | None:
    """The 95 % interval over the draws in which a value is defined; None if there is no such draw."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, TAILS)
    return float(low), float(high)


def _told(metric: str, possible: int, draws: int, rows: int) -> tuple[str, ...]:
    if possible >= draws:
        return ()
    got = f"from {possible} draws instead of {draws}" if possible >= FEWEST_DRAWS else "left out"
    return (
        f"metric {metric!r}: intervals are {got}: its state is no sum, so that every draw reads {rows} rows",
    )
