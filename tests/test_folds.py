"""Folds: what belongs together stays together, and every fold is like the whole."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from mtl_toolkit import DataError, TensorSamples
from mtl_toolkit.data import find_overlap, folds, split_folds, units_of, units_of_strata


class Table(TensorSamples):
    """Samples with columns."""

    def __init__(self, length, **columns):
        super().__init__(torch.zeros(length, 1), {})
        self.columns = {name: np.asarray(values) for name, values in columns.items()}

    def column(self, name):
        return self.columns.get(name)


def partners(units):
    """Which samples are together, as a set of sets."""
    return {frozenset(np.flatnonzero(units == unit).tolist()) for unit in np.unique(units)}


GROUPED = st.integers(2, 5).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(st.tuples(st.integers(0, 25), st.integers(-1, 3)), min_size=count, max_size=120),
    )
)


@settings(max_examples=50, deadline=None)
@given(GROUPED, st.integers(0, 2**63))
def test_folds_cover_every_sample_once_and_no_unit_is_in_two(case, seed):
    count, rows = case
    units, strata = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    if len(np.unique(units)) < count:
        with pytest.raises(DataError, match="groups of samples that stay together"):
            split_folds(units, strata, count, seed)
        return
    try:
        found = split_folds(units, strata, count, seed)
    except DataError as error:
        assert "would be empty" in str(error)  # noqa: PT017 - scikit-learn may leave one, and that is told
        return
    assert set(found.tolist()) == set(range(1, count + 1))
    for unit in np.unique(units):
        assert len(set(found[units == unit].tolist())) == 1
    assert np.array_equal(found, split_folds(units, strata, count, seed))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**63), st.booleans())
def test_each_fold_has_its_share_of_every_stratum(count, seed, grouped):
    random = np.random.default_rng(seed)
    strata = random.choice([0, 1, 2], 900, p=[0.6, 0.3, 0.1]).astype(np.int64)
    units = random.integers(0, 300, 900) if grouped else np.arange(900)
    found = split_folds(units, strata, count, seed)
    whole = np.bincount(strata) / len(strata)
    for fold in range(1, count + 1):
        mine = strata[found == fold]
        assert len(mine) == pytest.approx(900 / count, abs=4 if grouped else 1)
        assert np.bincount(mine, minlength=3) / len(mine) == pytest.approx(whole, abs=0.03)


def test_without_groups_they_are_those_of_scikit_learn_stratified():
    strata = np.random.default_rng(0).integers(0, 4, 101)
    found = split_folds(np.arange(101), strata, 4, 7)
    splitter = StratifiedKFold(4, shuffle=True, random_state=7)
    for fold, (_, held_out) in enumerate(splitter.split(strata, strata), start=1):
        assert np.array_equal(np.flatnonzero(found == fold), held_out)


def test_with_groups_they_are_those_of_scikit_learn_stratified_by_group():
    random = np.random.default_rng(0)
    strata, units = random.integers(0, 4, 200), random.integers(0, 50, 200)
    found = split_folds(units, strata, 5, 7)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=7)
    for fold, (_, held_out) in enumerate(splitter.split(strata, strata, units), start=1):
        assert np.array_equal(np.flatnonzero(found == fold), held_out)


def test_one_stratum_is_no_stratum():
    found = split_folds(np.arange(10), np.zeros(10, np.int64), 5, 3)
    assert np.bincount(found)[1:].tolist() == [2] * 5


def test_another_seed_gives_other_folds():
    strata = np.zeros(100, np.int64)
    assert not np.array_equal(
        split_folds(np.arange(100), strata, 5, 0), split_folds(np.arange(100), strata, 5, 1)
    )


@pytest.mark.parametrize("units", [np.arange(40), np.arange(40) // 2], ids=["single", "grouped"])
def test_strata_of_too_few_samples_count_as_one_without_a_warning(units):
    strata = np.arange(40, dtype=np.int64) // 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = split_folds(units, strata, 5, 0)
    assert np.bincount(found)[1:].tolist() == [8] * 5


def test_a_unit_that_has_nearly_everything_leaves_a_fold_empty_which_is_told(monkeypatch):
    monkeypatch.setattr(folds, "_stratified", lambda strata, *_: np.ones(len(strata), np.int64))
    with pytest.raises(
        DataError, match=r"folds = 2: fold 2 would be empty, as the groups of samples are too"
    ):
        split_folds(np.array([0, 0, 0, 1]), np.zeros(4, np.int64), 2, 0)


class TestManyGroups:
    @pytest.fixture
    def many(self):
        random = np.random.default_rng(0)
        units = np.repeat(np.arange(100_000), random.integers(1, 10, 100_000))
        return units, random.choice(5, len(units), p=[0.4, 0.3, 0.2, 0.09, 0.01])

    def test_a_hundred_thousand_are_cut_in_seconds_and_all_alike(self, many):
        units, strata = many
        started = time.process_time()
        found = split_folds(units, strata, 5, 0)
        assert time.process_time() - started < 5  # 0.6 s where it was written
        assert np.bincount(found)[1:] == pytest.approx(len(units) / 5, rel=0.02)
        whole = np.bincount(strata) / len(strata)
        for fold in range(1, 6):
            assert np.bincount(strata[found == fold]) / (found == fold).sum() == pytest.approx(
                whole, abs=0.005
            )

    def test_none_is_in_two_folds(self, many):
        units, strata = many
        found = split_folds(units, strata, 5, 0)
        first = np.concatenate([[0], np.flatnonzero(np.diff(units)) + 1])
        assert np.array_equal(found, found[first][units])

    def test_each_goes_by_its_most_frequent_stratum(self, monkeypatch):
        monkeypatch.setattr(folds, "GREEDY", 0)
        units = np.repeat(np.arange(20), 3)
        strata = np.where(np.arange(60) % 3 == 1, 9, np.repeat(np.arange(20) % 2, 3))
        found = split_folds(units, strata, 5, 0)
        expected = split_folds(np.arange(20), np.arange(20, dtype=np.int64) % 2, 5, 0)
        assert np.array_equal(found, np.repeat(expected, 3))


class TestUnits:
    def test_are_groups_across_datasets(self):
        one = Table(3, group=["a", "b", "a"])
        other = Table(3, group=np.array([b"b", b"c", b""]))
        assert partners(units_of([one, other])) == {
            frozenset({0, 2}),
            frozenset({1, 3}),
            frozenset({4}),
            frozenset({5}),
        }

    def test_are_single_samples_where_nothing_is_known(self):
        assert partners(units_of([Table(3), Table(2)])) == {frozenset({i}) for i in range(5)}

    def test_are_videos_of_each_dataset(self):
        one, other = Table(3, video=["v", "v", ""]), Table(2, video=["v", "w"])
        assert partners(units_of([one, other])) == {
            frozenset({0, 1}),
            frozenset({2}),
            frozenset({3}),
            frozenset({4}),
        }

    def test_reach_from_faces_of_one_picture_to_the_groups_of_both(self):
        table = Table(6, group=["a", "a", "b", "b", "c", ""], file=["1", "2", "2", "3", "4", "4"])
        assert partners(units_of([table])) == {frozenset({0, 1, 2, 3}), frozenset({4, 5})}

    def test_follow_a_long_chain(self):
        length = 1000
        table = Table(length, group=np.arange(length) // 2, file=(np.arange(length) + 1) // 2)
        shuffled = np.random.default_rng(0).permutation(length)
        mixed = Table(length, group=table.columns["group"][shuffled], file=table.columns["file"][shuffled])
        assert len(partners(units_of([mixed]))) == 1

    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.tuples(st.sampled_from(["", *"abcdefgh"]), st.sampled_from(["", *"123456"])), min_size=6),
        st.integers(0, 99),
    )
    def test_share_no_file_and_no_group_between_folds(self, rows, seed):
        groups, files = zip(*rows, strict=True)
        table = Table(len(rows), group=groups, file=files)
        units = units_of([table])
        if len(np.unique(units)) < 2:
            return
        found = split_folds(units, np.zeros(len(rows), np.int64), 2, seed)
        halves = []
        for fold in (1, 2):
            mine = found == fold
            columns = {name: values[mine] for name, values in table.columns.items()}
            halves.append((str(fold), Table(int(mine.sum()), **columns)))
        assert find_overlap(halves[:1], halves[1:]) == []


def test_units_of_strata_counts_each_unit_once():
    units, strata = np.array([0, 0, 1, 2, 2, 2]), np.array([5, 5, 5, -1, 7, -1])
    assert units_of_strata(units, strata) == {-1: 1, 5: 2, 7: 1}
