"""What the reference is made from: every field says what it means, every method where it comes from."""

from __future__ import annotations

import inspect
import re

import pytest

import mtl_toolkit
from mtl_toolkit.fields import fields_of
from tests.doc_pages import ROOT

# A paper or a challenge: "(Lin, 1989)", "CVPR 2001", "ABAW5".
SOURCE = re.compile(r"\b(19|20)\d\d\b|\bABAW\d?")
# Plain notions, formats of files and drawn data, which no paper brought up.
PLAIN = {
    *("accuracy", "f1", "macro_f1", "mse", "multi-label", "regression", "sum"),
    *("appearance", "identity", "pixel-mse", "psnr", "sequential", "shuffle", "mean", "median", "gaussian"),
    *("hdf5", "image-csv", "image-folder", "video-files", "synthetic-faces", "synthetic-videos"),
}


@pytest.fixture(autouse=True)
def _pages_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")


def undocumented(cls):
    extra = getattr(cls, "extra_keys", None)
    fields = {key: field for key, field in fields_of(cls).items() if key != extra}
    return [f"{cls.__name__}.{key}" for key, field in fields.items() if not field.metadata.get("doc")]


def test_every_field_of_a_plugin_says_what_it_means():
    from reference_pages.tables import first_party, inner_tables

    recipes = [plugin.recipe for plugin in first_party().plugins]
    tables = [*recipes, *(inner for recipe in recipes for _, inner in inner_tables(recipe))]
    assert [field for table in tables for field in undocumented(table)] == []


def test_every_key_of_a_configuration_says_what_it_means():
    from reference_pages.tables import TABLES

    assert [field for table in TABLES.values() for field in undocumented(table)] == []


def test_every_method_and_database_names_its_source():
    from reference_pages.tables import first_party

    plugins = {plugin.name: plugin.recipe for plugin in first_party().plugins}
    unnamed = {name for name, recipe in plugins.items() if not SOURCE.search(inspect.getdoc(recipe) or "")}
    assert unnamed == PLAIN & set(plugins)


def test_every_public_name_has_a_page_with_its_docstring():
    from reference_pages.api import module_page, modules

    found = modules()
    named = {name for names in found.values() for name in names}
    assert set(mtl_toolkit.__all__) - {"validators", "testing"} <= named
    for module, names in found.items():
        text = module_page(module, names)  # raises for what has no docstring
        assert all(f"## `{name}`" in text for name in names)


class TestDocstrings:
    def test_sections_become_lists(self):
        from reference_pages.docstrings import docstring

        def call() -> None:
            """Do it, see `<a>` and <b>.

            Args:
                one: the first,
                    in two lines.
                two, three: both.

            Returns:
                A number.

            Raises:
                ValueError: never.
            """

        assert docstring(call).splitlines() == [
            r"Do it, see `<a>` and \<b>.",
            "",
            "**Arguments**",
            "",
            "- `one`: the first,",
            "  in two lines.",
            "- `two, three`: both.",
            "",
            "**Returns**",
            "",
            "A number.",
            "",
            "**Raises**",
            "",
            "- `ValueError`: never.",
        ]

    def test_what_has_no_docstring_is_refused(self):
        from reference_pages.docstrings import docstring

        def call() -> None: ...

        with pytest.raises(ValueError, match="call has no docstring"):
            docstring(call)

    def test_signatures_are_written_as_calls(self):
        from reference_pages.docstrings import signature

        def call(self, one: int, *rest: str, two: float = 0.5, **options: object) -> bool: ...

        line = "call(one: int, *rest: str, two: float = 0.5, **options: object) -> bool"
        assert signature("call", call, bound=True) == line
        long = signature("a" * 60, call)
        assert long.splitlines()[1:3] == ["    self,", "    one: int,"]
        assert long.endswith("\n) -> bool")

    def test_keyword_only_arguments_come_after_a_star(self):
        from reference_pages.docstrings import signature

        def call(one, *, two=None): ...

        assert signature("call", call) == "call(one, *, two=None)"
