"""The example in this folder can be run, and the hook prints its epochs."""

from pathlib import Path

import pytest
from mtl_toolkit import load_config, run

EXAMPLE = Path(__file__).parents[1] / "example.toml"


def test_the_example_trains_and_its_epochs_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stage,) = run(load_config(EXAMPLE), tmp_path / "run")["stages"]
    assert list(stage["metrics"]) == ["test/dots/ccc"]
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("count ")]
    assert [line[:2] for line in lines] == [["count", "1"], ["count", "2"]]
    best = lines[stage["best_epoch"] - 1]
    assert best[2] == f"test/dots/ccc={stage['metrics']['test/dots/ccc']:.3f}"
