"""Sphinx: `pip install -r requirements-dev.txt && sphinx-build -W -n docs docs/_build`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "mtl-toolkit"
copyright = "The mtl-toolkit developers"  # noqa: A001 - Sphinx's name
extensions = ["myst_parser", "mathml"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
smartquotes = False  # what is typed is what is meant
html_theme = "furo"
html_title = "mtl-toolkit"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
exclude_patterns = ["_build"]
