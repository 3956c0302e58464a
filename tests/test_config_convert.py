"""Plain TOML values become typed recipes, strictly, and all problems are found at once."""

from __future__ import annotations

import datetime
import enum
import re
import string
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import attrs
import pytest
import tomli_w
from attrs import validators
from hypothesis import given
from hypothesis import strategies as st

from mtl_toolkit.config import fields_of, plain
from mtl_toolkit.config.convert import make_converter
from mtl_toolkit.config.problems import Problems
from mtl_toolkit.config.table import structure, structure_table
from mtl_toolkit.config.typewords import words
from mtl_toolkit.errors import DataError, PluginError
from mtl_toolkit.plugin import Head, Loss, Sampler, TeacherLoss
from mtl_toolkit.registry import Registry
from mtl_toolkit.validators import above, at_least, between, each, not_empty, one_of, unique

BASE = Path("/base")


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    FAST = "fast"


class Label(str):
    """A type of somebody's own, which looks like a string."""


Seconds = NewType("Seconds", int)


@pytest.fixture
def registry(kit):
    return Registry.load(entry_points=kit.entry_points())


@pytest.fixture
def empty():
    return make_converter(Registry((), ()), BASE)


def convert(value, kind, registry=None):
    return structure(value, kind, make_converter(registry or Registry((), ()), BASE))


def problems(call, *args):
    """What is wrong, as path -> message."""
    with pytest.raises(Problems) as error:
        call(*args)
    return {".".join(map(str, path)): message for path, message in error.value.found}


ACCEPTED = [
    (5, int, 5),
    (3, float, 3.0),
    (2.9, float, 2.9),
    ("5", str, "5"),
    (True, bool, True),
    ([1, 2], tuple[int, ...], (1, 2)),
    ([1, 2], list[int], [1, 2]),
    ([1, 2], Sequence[int], (1, 2)),
    (["a", "a"], frozenset[str], frozenset("a")),
    ([1, "a"], tuple[int, str], (1, "a")),
    ([], tuple[int, ...], ()),
    ([1, "x"], tuple, (1, "x")),
    ({"a": 1}, dict[str, int], {"a": 1}),
    ({"a": 1}, Mapping[str, float], {"a": 1.0}),
    ({"1": "x"}, dict[int, str], {1: "x"}),
    ({"red": 1}, dict[Colour, int], {Colour.RED: 1}),
    ({"a": [1, {}]}, dict[str, Any], {"a": [1, {}]}),
    ({"a": 1}, dict, {"a": 1}),
    ("b", Literal["a", "b"], "b"),
    (2, Literal[1, 2], 2),
    ("green", Colour, Colour.GREEN),
    (2, Level, Level.HIGH),
    ("fast", Mode, Mode.FAST),
    (3, int | None, 3),
    (3, float | int, 3),
    (3, float | str, 3.0),
    (True, int | bool, True),
    (7, Literal["shortest"] | int, 7),
    ("shortest", Literal["shortest"] | int, "shortest"),
    (["a"], str | tuple[str, ...], ("a",)),
    (3, Annotated[int, "items"], 3),
    (3, Seconds, 3),
    (datetime.date(2021, 5, 1), datetime.date, datetime.date(2021, 5, 1)),
]


@pytest.mark.parametrize(("value", "kind", "expected"), ACCEPTED, ids=repr)
def test_value_of_the_right_type_is_taken(value, kind, expected):
    result = convert(value, kind)
    assert result == expected
    assert type(result) is type(expected)


REFUSED = [
    (5, str, "must be a string (got 5)"),
    ("5", int, "must be a whole number (got '5')"),
    (2.9, int, "must be a whole number (got 2.9)"),
    (2.0, int, "must be a whole number (got 2.0)"),
    (True, int, "must be a whole number (got true)"),
    (True, float, "must be a number (got true)"),
    ("1", float, "must be a number (got '1')"),
    (10**400, float, "must be a number (got 1000"),
    (1, bool, "must be true or false (got 1)"),
    ("true", bool, "must be true or false (got 'true')"),
    ("abc", tuple[str, ...], "must be a list [...] (got 'abc')"),
    ({"a": 1}, list[int], "must be a list [...] (got a table)"),
    ([1], tuple[int, int], "must have 2 items (got 1)"),
    ([1], dict[str, int], "must be a table (got [1])"),
    ("a", dict[str, int], "must be a table (got 'a')"),
    ("c", Literal["a", "b"], "must be 'a' or 'b' (got 'c')"),
    ("shortes", Literal["shortest", "longest"], "(got 'shortes'); did you mean 'shortest'?"),
    (True, Literal[1, 2], "must be 1 or 2 (got true)"),
    ("RED", Colour, "must be 'red' or 'green' (got 'RED'); did you mean 'red'?"),
    (2.5, Literal["shortest"] | int, "must be 'shortest' or a whole number (got 2.5)"),
    (2.5, int | None, "must be a whole number (got 2.5)"),
    (5, str | tuple[str, ...], "must be a string or a list (got 5)"),
    (5, Path, "must be a string (got 5)"),
    ("", Path, "must not be empty"),
    ("2021-05-01", datetime.date, "must be a date (got '2021-05-01')"),
    (datetime.datetime(2021, 5, 1), datetime.date, "must be a date (got "),
    (True, Level, "must be 1 or 2 (got true)"),
    ("x", Label, "cannot be given in TOML (its type is Label)"),
    ("x", complex, "cannot be given in TOML (its type is complex)"),
    (list(range(50)), str, "must be a string (got [0, 1, 2, 3, ...])"),
]


@pytest.mark.parametrize(("value", "kind", "message"), REFUSED, ids=repr)
def test_value_of_the_wrong_type_is_refused_with_the_rule_and_the_value(value, kind, message):
    found = problems(convert, value, kind)
    assert list(found) == [""]
    assert message in found[""]
    assert len(found[""]) < 200


def test_all_wrong_items_of_a_list_or_table_are_told_with_their_place():
    assert problems(convert, [1, "a", 2.5], tuple[int, ...]).keys() == {"1", "2"}
    assert problems(convert, ["a", 2, 0.5], tuple[int, int, int]).keys() == {"0", "2"}
    assert problems(convert, {"a": 1, "b": "x", "c": [1]}, dict[str, int]).keys() == {"b", "c"}
    assert problems(convert, {"blue": 1}, dict[Colour, int]) == {
        "blue": "must be 'red' or 'green' (got 'blue')"
    }


@attrs.frozen(kw_only=True)
class Inner:
    size: int = attrs.field(validator=at_least(1))
    tags: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Outer:
    title: str
    inner: Inner
    colour: Colour = Colour.RED
    limit: float | None = attrs.field(default=None, validator=above(0))
    named: dict[str, Inner] = attrs.field(factory=dict)
    _private: int = 0
    renamed: int = attrs.field(default=0, alias="klass")
    derived: int = attrs.field(init=False, default=7)


class TestTable:
    def test_fields_nested_tables_and_defaults(self, empty):
        value = {"title": "t", "inner": {"size": 2, "tags": ["a"]}, "named": {"x": {"size": 3}}}
        expected = Outer(title="t", inner=Inner(size=2, tags=("a",)), named={"x": Inner(size=3)})
        assert structure_table(Outer, value, empty) == expected

    def test_every_problem_is_found_with_its_key_path(self, empty):
        value = {
            "inner": {"size": 0, "tags": ["a", 5], "sise": 1},
            "colour": "blue",
            "limit": -1.5,
            "named": {"x": {"tags": "a"}, "y": 3},
        }
        assert problems(structure_table, Outer, value, empty) == {
            "title": "is missing",
            "inner.size": "must be at least 1 (got 0)",
            "inner.tags.1": "must be a string (got 5)",
            "inner.sise": "unknown key; did you mean 'size'?",
            "colour": "must be 'red' or 'green' (got 'blue')",
            "limit": "must be above 0 (got -1.5)",
            "named.x.size": "is missing",
            "named.x.tags": "must be a list [...] (got 'a')",
            "named.y": "must be a table { ... } (got 3)",
        }

    def test_key_is_the_name_of_the_argument(self, empty):
        """A private name is written without its underscore; a field may have a key of its own."""
        value = {"title": "t", "inner": {"size": 1}, "private": 4, "klass": 5}
        outer = structure_table(Outer, value, empty)
        assert (outer._private, outer.renamed) == (4, 5)
        assert {"private", "klass"} < set(plain(outer))
        assert problems(structure_table, Outer, value | {"_private": 1, "renamed": 1}, empty).keys() == {
            "_private",
            "renamed",
        }

    def test_field_that_is_no_argument_is_neither_read_nor_written(self, empty):
        value = {"title": "t", "inner": {"size": 1}}
        assert problems(structure_table, Outer, value | {"derived": 1}, empty).keys() == {"derived"}
        assert "derived" not in plain(structure_table(Outer, value, empty))
        assert "derived" not in fields_of(Outer)


def one_field(kind, **options):
    """A class with the field `x`."""
    return attrs.make_class("One", {"x": attrs.field(type=kind, **options)}, kw_only=True, frozen=True)


VALIDATED = [
    (one_field(int, validator=validators.ge(2)), 1, "must be at least 2 (got 1)"),
    (one_field(int, validator=validators.gt(2)), 2, "must be above 2 (got 2)"),
    (one_field(float, validator=validators.le(2)), 2.5, "must be at most 2 (got 2.5)"),
    (one_field(float, validator=validators.lt(2)), 2, "must be below 2 (got 2.0)"),
    (
        one_field(str, validator=validators.in_(["sum", "mean"])),
        "men",
        "must be one of 'sum', 'mean' (got 'men'); did you mean 'mean'?",
    ),
    (one_field(Any, validator=validators.instance_of(str)), 5, "must be a string (got 5)"),
    (
        one_field(Any, validator=validators.instance_of((str, int))),
        0.5,
        "must be a string or a whole number (got 0.5)",
    ),
    (one_field(int | None, validator=validators.optional(validators.ge(2))), 1, "must be at least 2 (got 1)"),
    (one_field(str, validator=validators.matches_re("[a-z]+")), "A", "must match [a-z]+ (got 'A')"),
    (one_field(str, validator=validators.max_len(2)), "abc", "must have at most 2 items (got 3)"),
    (one_field(tuple[str, ...], validator=validators.min_len(1)), [], "must have at least 1 items (got 0)"),
    (
        one_field(tuple[int, ...], validator=validators.deep_iterable(validators.ge(0))),
        [1, -1],
        "must be at least 0 (got -1)",
    ),
    (one_field(int, validator=[at_least(1), validators.lt(9)]), 9, "must be below 9 (got 9)"),
    (one_field(float, validator=at_least(0)), float("nan"), "must be at least 0 (got nan)"),
    (one_field(float, validator=between(0, 1)), 1.5, "must be between 0 and 1 (got 1.5)"),
    (one_field(str, validator=one_of(["a", "b"])), "c", "must be one of 'a', 'b' (got 'c')"),
    (one_field(tuple[str, ...], validator=not_empty()), [], "must not be empty (got [])"),
    (
        one_field(tuple[str, ...], validator=unique()),
        ["a", "a"],
        "must not name anything twice (got ['a', 'a'])",
    ),
    (
        one_field(tuple[float, ...], validator=each(above(0))),
        [1, 0],
        "every item must be above 0 (got [1.0, 0.0])",
    ),
]


@pytest.mark.parametrize(("cls", "value", "message"), VALIDATED)
def test_broken_rule_is_told_as_rule_and_value(cls, value, message, empty):
    assert problems(structure_table, cls, {"x": value}, empty) == {"x": message}


@attrs.frozen(kw_only=True)
class Interval:
    low: float = 0.0
    high: float = attrs.field()
    steps: int = attrs.field(default=1, validator=at_least(1))

    @high.validator
    def _above_low(self, _attribute, value):
        if value <= self.low:
            raise ValueError(f"'high' must be above low (got {value})")

    def __attrs_post_init__(self):
        if self.steps > self.high - self.low:
            raise ValueError("steps must fit between low and high")


class TestRulesBetweenFields:
    def test_validator_sees_the_other_fields(self, empty):
        assert structure_table(Interval, {"high": 2}, empty) == Interval(high=2.0)
        assert problems(structure_table, Interval, {"low": 3, "high": 2, "steps": 0}, empty) == {
            "high": "must be above low (got 2.0)",
            "steps": "must be at least 1 (got 0)",
        }

    def test_rule_on_a_field_that_is_itself_wrong_is_not_told(self, empty):
        found = problems(structure_table, Interval, {"low": "x", "high": -1}, empty)
        assert found == {"low": "must be a number (got 'x')"}

    def test_check_of_the_whole_is_told_at_the_table(self, empty):
        found = problems(structure_table, Interval, {"high": 2, "steps": 5}, empty)
        assert found == {"": "steps must fit between low and high"}

    def test_bug_in_a_validator_keeps_its_traceback(self, empty):
        cls = one_field(int, validator=lambda instance, *_: instance.no_such_attribute)
        with pytest.raises(AttributeError, match="no_such_attribute"):
            structure_table(cls, {"x": 1}, empty)

    def test_error_for_the_user_raised_while_building_is_told(self, empty):
        def check(self):
            raise DataError(f"no such table {self.x!r}")

        cls = attrs.make_class("One", {"x": attrs.field(type=str)}, class_body={"__attrs_post_init__": check})
        assert problems(structure_table, cls, {"x": "a"}, empty) == {"": "no such table 'a'"}

        def check_field(_instance, _attribute, value):
            raise DataError(f"no such table {value!r}", "nor another")

        cls = one_field(str, validator=check_field)
        assert problems(structure_table, cls, {"x": "a"}, empty) == {"x": "no such table 'a'; nor another"}


def split(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value.split("+")) if isinstance(value, str) else value


class TestFieldWithConverter:
    def test_type_is_that_of_the_converters_argument(self, empty):
        cls = one_field(tuple[str, ...], converter=split)
        assert structure_table(cls, {"x": "a+b"}, empty).x == ("a", "b")
        assert structure_table(cls, {"x": ["a", "b"]}, empty).x == ("a", "b")
        assert problems(structure_table, cls, {"x": 5}, empty) == {"x": "must be a string or a list (got 5)"}

    def test_class_as_converter_stays_strict(self, empty):
        assert problems(structure_table, one_field(int, converter=int), {"x": "5"}, empty).keys() == {"x"}
        assert structure_table(one_field(Path, converter=Path), {"x": "a"}, empty).x == Path("/base/a")

    def test_type_that_toml_lacks_is_left_to_the_converter(self, empty):
        cls = one_field(complex, converter=lambda text: complex(text) * 1)
        assert structure_table(cls, {"x": "1+2j"}, empty).x == 1 + 2j
        assert problems(structure_table, cls, {"x": "a"}, empty).keys() == {"x"}

    def test_validator_sees_the_converted_value(self, empty):
        cls = one_field(tuple[str, ...], converter=split, validator=validators.max_len(2))
        assert problems(structure_table, cls, {"x": "a+b+c"}, empty) == {
            "x": "must have at most 2 items (got 3)"
        }

    def test_converter_object_that_takes_the_instance_works(self, empty):
        times = attrs.Converter(lambda value, self, _: value * self.factor, takes_self=True, takes_field=True)
        cls = attrs.make_class(
            "Two",
            {
                "factor": attrs.field(type=int),
                "x": attrs.field(type=int, converter=times, validator=above(5)),
            },
            kw_only=True,
        )
        assert structure_table(cls, {"factor": 3, "x": 2}, empty).x == 6
        assert problems(structure_table, cls, {"factor": 2, "x": 2}, empty) == {
            "x": "must be above 5 (got 4)"
        }


class TestRecipe:
    def test_table_with_a_type_or_the_name_alone(self, registry):
        assert convert({"type": "balanced", "power": 0.5}, Sampler, registry).power == 0.5
        assert convert("balanced", Sampler, registry).power == 1.0

    @pytest.mark.parametrize(
        ("value", "kind", "expected"),
        [
            ({"type": "focl"}, Loss, {"type": "unknown loss 'focl'; did you mean 'focal'?"}),
            ("focl", Loss, {"": "unknown loss 'focl'; did you mean 'focal'?"}),
            ({}, Loss, {"type": 'must name a loss, as in type = "..."; there are: focal, imitate, plain'}),
            (
                {"type": 5},
                Loss,
                {"type": 'must name a loss, as in type = "..." (got 5); there are: focal, imitate, plain'},
            ),
            (5, Loss, {"": "must be a loss's name or a table with a type (got 5)"}),
            ("focal", TeacherLoss, {"": "loss 'focal' is no TeacherLoss; there are: imitate"}),
            (
                {"type": "focal", "gama": 1, "gamma": -1, "weight": "a"},
                Loss,
                {
                    "gama": "unknown key; did you mean 'gamma'?",
                    "gamma": "must be at least 0 (got -1.0)",
                    "weight": "must be a number (got 'a')",
                },
            ),
            (["focal", {"type": "focal", "gamma": "x"}, 3], tuple[Loss, ...], ["1.gamma", "2"]),
            (
                {"type": "binned", "loss": "focl"},
                Head,
                {"loss": "unknown loss 'focl'; did you mean 'focal'?"},
            ),
            ({"type": "focal", "gamma": "x"}, str | Loss, {"gamma": "must be a number (got 'x')"}),
        ],
        ids=repr,
    )
    def test_problems_are_told_where_they_are(self, registry, value, kind, expected):
        found = problems(convert, value, kind, registry)
        assert (found if isinstance(expected, dict) else list(found)) == expected

    def test_recipe_that_is_there_already_is_kept(self, registry):
        loss = convert("focal", Loss, registry)
        assert convert(loss, Loss, registry) is loss

    def test_type_that_only_the_checker_knows_is_an_error_for_the_plugins_author(self):
        cls = attrs.make_class("Bad", {"x": attrs.field(type="Nowhere | None", default=None)})
        with pytest.raises(PluginError, match=r"Bad\.x: its type 'Nowhere | None' cannot be resolved"):
            fields_of(cls)
        assert list(problems(convert, {"x": 1}, cls)) == [""]


class TestPath:
    def test_is_taken_from_the_base_and_made_plain(self):
        assert convert("a/../b", Path) == Path("/base/b")
        assert convert("/elsewhere", Path) == Path("/elsewhere")

    def test_home_and_variables_expand(self, monkeypatch):
        monkeypatch.setenv("HOME", "/home/me")
        monkeypatch.setenv("MTL_DATA", "/data")
        assert convert("~/x", Path) == Path("/home/me/x")
        assert convert("${MTL_DATA}/${MTL_DATA}/x", Path) == Path("/data/data/x")
        assert convert("$MTL_DATA", Path) == Path("/base/$MTL_DATA")

    def test_variable_that_is_not_set_is_named(self, monkeypatch):
        monkeypatch.delenv("MTL_DATA", raising=False)
        assert problems(convert, "${MTL_DATA}/x", Path) == {
            "": "the environment variable MTL_DATA is not set (got '${MTL_DATA}/x')"
        }

    def test_home_of_nobody_is_a_problem(self):
        assert problems(convert, "~no-such-user-here/x", Path) == {
            "": "there is no such home directory (got '~no-such-user-here/x')"
        }


WORDS = [
    (int, "whole number"),
    (float | None, "number"),
    (tuple[str, ...], "list of text"),
    (tuple[float, float], "list of 2: number, number"),
    (dict[str, Path], "table of path"),
    (dict[str, Any], "table"),
    (Loss, "loss (a plugin)"),
    (tuple[Loss, ...], "list of loss (a plugin)"),
    (Literal["a", "b"] | bool, "'a' or 'b' or true or false"),
    (Colour, "'red' or 'green'"),
    (Inner, "table (Inner)"),
    (Seconds, "whole number"),
    (Annotated[int, 1], "whole number"),
    (Any, "anything"),
]


@pytest.mark.parametrize(("kind", "expected"), WORDS)
def test_type_in_plain_words(kind, expected):
    assert words(kind) == expected


@attrs.frozen(kw_only=True)
class Everything:
    """One field of each shape; None is left out of the file."""

    text: str
    number: float
    whole: int
    yes: bool
    maybe: float | None = None
    colour: Colour
    words: tuple[str, ...]
    pair: tuple[int, float]
    bag: frozenset[str]
    table: dict[str, tuple[int, ...]]
    free: dict[str, Any]
    path: Path
    inner: Inner
    when: datetime.date
    either: Literal["shortest"] | int


FLOATS = st.floats(allow_nan=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text(string.ascii_letters, min_size=1, max_size=8)
INNER = st.builds(Inner, size=st.integers(1), tags=st.lists(TEXT, max_size=3).map(tuple))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: Path("/", *parts))


@given(
    st.builds(
        Everything,
        text=TEXT,
        number=FLOATS,
        whole=st.integers(),
        maybe=st.none() | FLOATS,
        yes=st.booleans(),
        colour=st.sampled_from(Colour),
        when=st.dates(),
        words=st.lists(TEXT, max_size=3).map(tuple),
        pair=st.tuples(st.integers(), FLOATS),
        bag=st.frozensets(TEXT, max_size=3),
        table=st.dictionaries(TEXT, st.lists(st.integers(), max_size=2).map(tuple), max_size=3),
        free=st.dictionaries(TEXT, FLOATS | TEXT | st.lists(st.booleans(), max_size=2), max_size=3),
        path=PATHS,
        inner=INNER,
        either=st.just("shortest") | st.integers(),
    )
)
def test_what_is_written_as_toml_reads_back_the_same(value):
    text = tomli_w.dumps(plain(value))
    assert convert(tomllib.loads(text), Everything) == value


@given(
    st.from_regex(re.compile(r"[a-z]{1,5}"), fullmatch=True), st.integers() | FLOATS | st.booleans() | TEXT
)
def test_scalar_is_either_kept_or_refused_never_changed(key, value):
    cls = one_field(dict[str, type(value)])
    assert structure_table(cls, {"x": {key: value}}, make_converter(Registry((), ()), BASE)).x == {key: value}
    for other in {int, str, bool} - {type(value)}:
        found = problems(convert, value, other)
        assert found[""].startswith("must be ")
