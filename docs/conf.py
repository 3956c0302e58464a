"""Sphinx: `pip install sphinx myst-parser furo && sphinx-build -W docs docs/_build`."""

project = "mtl-toolkit"
copyright = "The mtl-toolkit developers"  # noqa: A001 - Sphinx's name
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "mtl-toolkit"
exclude_patterns = ["_build"]
