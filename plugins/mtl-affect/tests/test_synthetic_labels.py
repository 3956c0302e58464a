"""What the rendered datasets tell of their faces: kinds of label, matched with heads by name."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from mtl_affect.appearance import Appearance
from mtl_affect.expression import Expression
from mtl_affect.faces import APPEARANCE, EXPRESSIONS, appearance, sample_identity
from mtl_affect.faces.appearance import BOUNDS
from mtl_affect.identity import Identity
from mtl_affect.synthetic_faces import SyntheticFaces
from mtl_affect.synthetic_videos import SyntheticVideos
from mtl_std.classification import Classification
from mtl_std.regression import Regression

from mtl_toolkit import DataError, DataFacts, Labels

SIX = EXPRESSIONS[1:]


def labels_of(recipe, **heads):
    return recipe.build(DataFacts(image_size=32, tasks=heads)).labels()


def test_appearance_is_that_of_the_person_who_is_drawn():
    ids = np.array([5, 2, 5, 900])
    found, people = appearance(7, ids), sample_identity(7, ids)
    assert found.shape == (4, len(APPEARANCE))
    assert found.dtype == np.float32
    for name, values in (("width", people.width), ("hair_blue", people.hair[:, 2]), ("beard", people.beard)):
        low, high = BOUNDS[name]
        wanted = 2 * (values.numpy() - low) / (high - low) - 1
        np.testing.assert_allclose(found[:, APPEARANCE.index(name)], wanted, atol=1e-6)
    assert (found[0] == found[2]).all()


def test_appearance_fills_its_range_and_nothing_is_cut_off():
    found = appearance(3, np.arange(20_000))
    assert np.abs(found).max() <= 1
    colours = [place for place, name in enumerate(APPEARANCE) if name.endswith(("_red", "_green", "_blue"))]
    others = np.setdiff1d(np.arange(len(APPEARANCE)), colours)
    assert (found[:, others].min(0) < -0.85).all()
    assert (found[:, others].max(0) > 0.85).all()
    assert (found.std(0) > 0.1).all()
    people = sample_identity(3, np.arange(20_000))
    for name in ("eye_tilt", "brow_slope", "mouth_bend", "hairline", "hair_volume", "hair_length"):
        low, high = BOUNDS[name]
        drawn = getattr(people, name).numpy()
        assert drawn.min() >= low - 1e-6
        assert drawn.max() <= high + 1e-6


def test_axes_are_matched_by_name_and_all_faces_of_a_person_agree():
    recipe = SyntheticFaces(samples=12, seed=4, first=6, labels=("appearance",), faces_per_identity=3)
    some = Regression(axes=("glasses", "skin_red"), label="appearance", range=(-1, 1))
    found = labels_of(recipe, look=some, default=Appearance())
    wanted = appearance(4, np.arange(6, 18) // 3)
    columns = [APPEARANCE.index("glasses"), APPEARANCE.index("skin_red")]
    np.testing.assert_array_equal(found["look"].values, wanted[:, columns])
    assert found["look"].valid.all()
    assert found["default"].values.shape == (12, len(Appearance().axes))
    assert some.check_labels(found["look"]) is None


def test_an_axis_that_faces_lack_is_an_error_with_the_nearest():
    head = Appearance(axes=("hair_lenght",))
    with pytest.raises(DataError, match="no 'hair_lenght' for task 'look'; did you mean 'hair_length'"):
        labels_of(SyntheticFaces(samples=4, labels=("appearance",)), look=head)


def test_a_person_has_the_same_class_in_every_part_of_a_seed():
    head = Identity(people=5)
    whole = labels_of(SyntheticFaces(samples=40, labels=("identity",)), who=head)["who"]
    part = labels_of(SyntheticFaces(samples=10, first=14, labels=("identity",)), who=head)["who"]
    np.testing.assert_array_equal(whole.valid, np.arange(40) // 4 < 5)
    np.testing.assert_array_equal(whole.values[:20], np.arange(20) // 4)
    np.testing.assert_array_equal(part.values, whole.values[14:24])
    np.testing.assert_array_equal(part.valid, whole.valid[14:24])


def test_the_first_person_of_a_head_may_be_another():
    found = labels_of(SyntheticFaces(samples=24, labels=("identity",)), who=Identity(people=2, first=3))
    np.testing.assert_array_equal(np.flatnonzero(found["who"].valid), np.arange(12, 20))
    np.testing.assert_array_equal(found["who"].values[12:20], [0] * 4 + [1] * 4)
    assert Identity(people=2, first=3).classes == ("person-3", "person-4")


def test_identities_of_a_plain_head_are_matched_by_name():
    head = Classification(classes=("person-2", "person-0"), label="identity", soft=True)
    found = labels_of(SyntheticFaces(samples=12, labels=("identity",)), who=head)["who"]
    np.testing.assert_array_equal(found.values[0], [0, 1])
    np.testing.assert_array_equal(found.values[8], [1, 0])
    assert not found.valid[4:8].any()


def test_videos_tell_appearance_and_identity_too():
    recipe = SyntheticVideos(
        videos=3, frames=6, first=2, seed=9, missing=0, labels=("identity", "appearance")
    )
    found = labels_of(recipe, who=Identity(people=4), look=Appearance(axes=APPEARANCE))
    samples = recipe.build(DataFacts(image_size=32, tasks={}))
    numbers = np.array([int(text.rsplit(b" ", 1)[1]) for text in samples.column("group")])
    np.testing.assert_array_equal(found["look"].values, appearance(9, numbers))
    np.testing.assert_array_equal(found["who"].values[numbers < 4], numbers[numbers < 4])
    np.testing.assert_array_equal(found["who"].valid, numbers < 4)


def test_neither_is_shown_unless_asked_for():
    found = labels_of(SyntheticFaces(samples=8), expr=Expression(), who=Identity(), look=Appearance())
    assert set(found) == {"expr"}


def test_a_face_of_a_class_that_the_head_lacks_has_no_label():
    seven = labels_of(SyntheticFaces(samples=70), expr=Expression())["expr"]
    six = labels_of(SyntheticFaces(samples=70), expr=Expression(classes=SIX))["expr"]
    neutral = seven.values == 0
    assert neutral.any()
    np.testing.assert_array_equal(six.valid, ~neutral)
    np.testing.assert_array_equal(six.values[~neutral], seven.values[~neutral] - 1)


def test_without_neutral_faces_all_have_one_of_six_classes():
    recipe = SyntheticFaces(samples=200, class_weights={"neutral": 0})
    assert labels_of(recipe, expr=Expression(classes=SIX))["expr"].valid.all()


def test_the_default_labels_stay_what_they_were():
    """Their hashes are part of finished runs."""
    found = labels_of(SyntheticFaces(samples=50, seed=1), expr=Expression())["expr"]
    assert hashlib.sha256(found.values.tobytes()).hexdigest()[:16] == "aa8a87b7ff4715a6"


def test_identity_tells_of_people_instead_of_thousands_of_classes():
    head = Identity(people=4000)
    ids = np.repeat(np.arange(300), 3)
    labels = Labels(np.append(ids, 7), np.append(np.ones(900, bool), True))
    assert head.summary(labels) == {"people": {"people": 300, "fewest samples of one": 3, "most": 4}}
    assert head.summary(Labels.missing(5, (), np.dtype(np.int64))) == {}
    assert head.describe_label(np.int64(12), np.True_) == "person-12"
