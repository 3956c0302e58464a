"""Write the reference pages from the code: configuration tables, plugins, hooks, public names, command line.

`python docs/generate_reference.py` writes them, `--check` only says which are out of date. A page is a
function to Markdown in `reference_pages`; `pages` lists them all.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from reference_pages.api import module_page, modules, names_page
from reference_pages.commands import command_page
from reference_pages.conformance import conformance_page
from reference_pages.hooks import hooks_page
from reference_pages.tables import all_plugins_page, configuration_page, first_party, kind_page

from mtl_toolkit.plugin import KINDS

DOCS = Path(__file__).parent
WRITTEN = "<!-- Written by docs/generate_reference.py: change the code, not this page. -->\n\n"
PLURALS = {kind: f"{kind}es" if kind.endswith("s") else f"{kind}s" for kind in KINDS}
TITLES = {"temporals": "Temporal networks", "postprocessors": "Post-processors"}


def pages() -> dict[Path, str]:
    """All generated pages by their path."""
    registry, names = first_party(), modules()
    found = {
        "reference/configuration": configuration_page(),
        "reference/plugins": all_plugins_page(registry, PLURALS, TITLES),
        **{
            f"reference/{plural}": kind_page(registry, kind, TITLES.get(plural, plural.capitalize()))
            for kind, plural in PLURALS.items()
        },
        "reference/hooks": hooks_page(),
        "reference/public-names": names_page(names),
        **{f"reference/api/{module}": module_page(module, names[module]) for module in names},
        "reference/conformance": conformance_page(),
        "cli": command_page(),
    }
    found["reference/index"] = index_page(found)
    return {DOCS / f"{path}.md": WRITTEN + text.rstrip() + "\n" for path, text in found.items()}


def index_page(found: Mapping[str, str]) -> str:
    """The list of the pages in the folder `reference`, for people and for Sphinx."""
    names = [Path(path).name for path in found if Path(path).parent.name == "reference"]
    listed = "\n".join(f"- [{title(found[f'reference/{name}'])}]({name}.md)" for name in names)
    tree = "\n".join(names)
    return (
        "# Reference\n\nThese pages are made from the code, as is [the command line](../cli.md).\n\n"
        f"{listed}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )


def title(text: str) -> str:
    """The heading of a page."""
    return text.partition("\n")[0].removeprefix("# ")


def out_of_date(wanted: Mapping[Path, str]) -> list[Path]:
    """Pages whose text differs, and files in the folder that no page belongs to."""
    wrong = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    there = [path for path in (DOCS / "reference").rglob("*") if path.is_file()]
    return wrong + [path for path in there if path not in wanted]


def run(arguments: list[str]) -> int:
    """Write or check the pages; 1 if a check fails."""
    wanted = pages()
    wrong = out_of_date(wanted)
    for path in wrong:
        if "--check" in arguments:
            print(f"{path.relative_to(DOCS.parent)} is out of date: run python docs/generate_reference.py")
        elif path in wanted:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 1 if wrong and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
