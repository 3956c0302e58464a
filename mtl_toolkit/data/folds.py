"""Folds of samples for cross-validation, by scikit-learn's splitters."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from ..errors import DataError
from ..samples import Samples
from .inspect import column_values
from .samples import column_bytes
from .windows import video_numbers

# Groups up to which StratifiedGroupKFold looks for the best fold of each one by one, in Python. It takes
# about 0.4 ms a group. Above, each group counts as its most frequent stratum: of so many, all come out alike.
GREEDY = 5000


def split_folds(units: np.ndarray, strata: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deal samples into folds, so that each fold has about its share of every stratum.

    Args:
        units: which samples stay together: int64 [samples], the same number for those that do.
        strata: a number per sample: int64 [samples]. Strata of fewer units than folds count as one.
        folds: how many.
        seed: of the shuffling.

    Returns:
        The fold of each sample, from 1: int64 [samples].

    Raises:
        DataError: if there are fewer units than folds, or so uneven ones that a fold would be empty.
    """
    _, units = np.unique(units, return_inverse=True)
    count = int(units.max(initial=-1)) + 1
    if count < folds:
        raise DataError(f"folds = {folds}: there are only {count} groups of samples that stay together")
    strata = _common_strata(units, strata, folds)
    if count == len(units):
        found = _stratified(strata, folds, seed)
    elif count <= GREEDY:
        found = _stratified(strata, folds, seed, units)
    else:
        own = _most_frequent(units, strata, count)
        found = _stratified(_common_strata(np.arange(count), own, folds), folds, seed)[units]
    for fold in range(1, folds + 1):
        if not (found == fold).any():
            raise DataError(
                f"folds = {folds}: fold {fold} would be empty, as the groups of samples are too uneven"
            )
    return found


def units_of(parts: Sequence[Samples]) -> np.ndarray:
    """Which samples of some datasets stay together: those with a group, a file or a video in common.

    That is so step by step: two faces of one picture keep the videos of their persons together.

    Returns:
        The same number for samples that stay together: int64 [samples], the datasets one after the other.
    """
    keys = [_codes(parts, name) for name in ("group", "file")]
    keys.append(_video_codes(parts))
    units = np.arange(sum(map(len, parts)))
    while True:
        before = units
        for key in keys:
            known = key >= 0
            lowest = np.full(int(key.max(initial=-1)) + 1, len(units))
            np.minimum.at(lowest, key[known], units[known])
            units = units.copy()
            units[known] = lowest[key[known]]
        units = units[units]
        if np.array_equal(units, before):
            return units


def units_of_strata(units: np.ndarray, strata: np.ndarray) -> dict[int, int]:
    """In how many units each stratum is found."""
    _, found, _ = _pairs(units, strata)
    names, counts = np.unique(found, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _common_strata(units: np.ndarray, strata: np.ndarray, folds: int) -> np.ndarray:
    """Strata that are found in too few units to be in every fold become one."""
    rare = [stratum for stratum, found in units_of_strata(units, strata).items() if found < folds]
    return np.where(np.isin(strata, rare), np.int64(strata.min(initial=0) - 1), strata)


def _most_frequent(units: np.ndarray, strata: np.ndarray, count: int) -> np.ndarray:
    """The most frequent stratum of each unit: int64 [units]."""
    owners, found, times = _pairs(units, strata)
    result = np.zeros(count, np.int64)
    order = np.argsort(times, kind="stable")  # the last one written is the most frequent
    result[owners[order]] = found[order]
    return result


def _pairs(units: np.ndarray, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair of a unit and a stratum once: units, strata, and how many samples it has; int64 [pairs]."""
    names, codes = np.unique(strata, return_inverse=True)
    pairs, times = np.unique(units * len(names) + codes, return_counts=True)
    return pairs // len(names), names[pairs % len(names)], times


def _stratified(strata: np.ndarray, folds: int, seed: int, units: np.ndarray | None = None) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # takes a second to import

    kind = StratifiedKFold if units is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=seed % 2**32)
    result = np.zeros(len(strata), np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a stratum of few samples: here it is known, and may be
        for number, (_, held_out) in enumerate(splitter.split(strata, strata, units), start=1):
            result[held_out] = number
    return result


def _codes(parts: Sequence[Samples], name: str) -> np.ndarray:
    """A number per value of a column, the same in all datasets; -1 where there is none: int64 [samples]."""
    numbers: dict[bytes, int] = {b"": -1}
    found = []
    for part in parts:
        column = column_bytes(part, name)
        if column is None:
            found.append(np.full(len(part), -1))
        else:
            values = (numbers.setdefault(value, len(numbers) - 1) for value in column_values(column))
            found.append(np.fromiter(values, np.int64, len(part)))
    return np.concatenate(found)


def _video_codes(parts: Sequence[Samples]) -> np.ndarray:
    """A number per video, another one in each dataset; -1 where there is none: int64 [samples]."""
    found, start = [], 0
    for part in parts:
        videos = video_numbers(part)
        videos = np.full(len(part), -1) if videos is None else videos
        found.append(np.where(videos >= 0, videos + start, -1))
        start += int(videos.max(initial=-1)) + 1
    return np.concatenate(found)
