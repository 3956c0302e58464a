"""The examples can be read, and what they resolve to says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl_toolkit.config import load_config

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.name)
def test_an_example_is_valid_and_its_resolved_form_says_the_same(example, tmp_path, monkeypatch):
    for variable in ("MTL_DATA", "LSD_ROOT", "S_AFF_WILD2"):
        monkeypatch.setenv(variable, str(tmp_path))
    loaded = load_config(example)
    resolved = tmp_path / "config.toml"
    resolved.write_text(loaded.to_toml(), encoding="utf-8")
    again = load_config(resolved)
    assert again.config == loaded.config
    assert again.to_toml() == loaded.to_toml()
