"""A run interrupted anywhere and resumed equals the run left alone."""

from __future__ import annotations

import json

import pytest

from mtl_toolkit import Interrupted, load_config, run
from tests.stopping import stop_after

TIMES = {"seconds", "samples_per_second", "peak_memory_bytes"}


def results(directory):
    """All that a run leaves, without timings."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.suffix == ".safetensors":
            found[str(path.relative_to(directory))] = path.read_bytes()
        elif path.name == "log.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[str(path.relative_to(directory))] = [without_times(line) for line in lines]
    report = json.loads((directory / "report.json").read_text())
    return found | {"report": [without_times(stage) for stage in report["stages"]]}


def without_times(record):
    return {key: value for key, value in record.items() if key not in TIMES}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_text):
    folder = tmp_path_factory.mktemp("alone")
    (folder / "tiny.toml").write_text(tiny_text)
    run(load_config(folder / "tiny.toml"), folder / "run")
    return results(folder / "run")


# Asked once a step and once a validation batch: 5 + 3 an epoch. These are within the first epoch, at its last
# step, in its validation, in later epochs, and in the second stage.
@pytest.mark.parametrize("moment", [3, 22, *(slow(moment) for moment in (1, 5, 6, 9, 16, 17, 26, 40, 47))])
def test_a_run_stopped_at_any_moment_and_resumed_equals_the_run_left_alone(tiny, tmp_path, alone, moment):
    with pytest.raises(Interrupted) as stopped:
        run(load_config(tiny), tmp_path / "run", stop=stop_after(moment))
    assert stopped.value.signal == 2
    run(load_config(tiny), tmp_path / "run")
    assert results(tmp_path / "run") == alone


@pytest.mark.slow
def test_a_run_stopped_many_times_equals_the_run_left_alone(tiny, tmp_path, alone):
    for _ in range(100):
        try:
            run(load_config(tiny), tmp_path / "run", stop=stop_after(4))
        except Interrupted:
            continue
        break
    assert results(tmp_path / "run") == alone


@pytest.mark.parametrize(
    "overrides",
    [
        slow(("defaults.accumulate=2", "trainer.save_every=1")),
        slow(
            (
                "defaults.optimizer={ type = 'SGD', lr = 0.01, momentum = 0.9 }",
                "defaults.scheduler={ warmup = 7 }",
            )
        ),
        slow(("defaults.scheduler={ type = 'ReduceLROnPlateau', per = 'epoch', patience = 0 }",)),
        ("defaults.scheduler={ type = 'MultiStepLR', per = 'epoch', milestones = [1, 2], gamma = 0.5 }",),
        slow(("defaults.scheduler={ type = 'CosineAnnealingLR', warmup = 3 }", "defaults.clip_norm=0.5")),
        slow(("trainer.workers=2", "defaults.patience=1")),
        slow(
            (
                "defaults.ema=0.9",
                "stages.student.teacher=ema",
                "defaults.optimizer={ type = 'AdamW', lr = 1e-2, sam = 0.05 }",
                "defaults.augmentation={ mixup = 0.4 }",
                "defaults.accumulate=2",
                "trainer.save_every=1",
            )
        ),
        # At 16x16 the last layers see single pixels, and there torch's bf16 convolution leaves part of its
        # gradient as it finds it in memory.
        slow(("trainer.precision='bf16'", "model.image_size=32")),
    ],
)
def test_it_holds_for_other_optimizers_schedules_and_loaders(tiny, tmp_path, overrides):
    loaded = load_config(tiny, overrides=overrides)
    run(loaded, tmp_path / "alone")
    for moment in (4, 13):
        with pytest.raises(Interrupted):
            run(loaded, tmp_path / f"run{moment}", stop=stop_after(moment))
        run(loaded, tmp_path / f"run{moment}")
        assert results(tmp_path / f"run{moment}") == results(tmp_path / "alone")


def test_a_crash_between_checkpoints_goes_on_from_the_last_one_with_the_log_cut_back(tiny, tmp_path, alone):
    class CrashError(Exception):
        pass

    def crash():
        nonlocal steps
        steps += 1
        if steps == 13:
            raise CrashError
        return 0

    steps = 0
    with pytest.raises(CrashError):
        run(load_config(tiny), tmp_path / "run", stop=crash)
    run(load_config(tiny), tmp_path / "run")
    assert results(tmp_path / "run") == alone


def test_a_crash_before_the_first_checkpoint_leaves_nothing_in_the_log(tiny, tmp_path, alone):
    teacher = tmp_path / "run" / "teacher"
    (teacher / "best").mkdir(parents=True)
    (teacher / "log.jsonl").write_text('{"epoch": 1, "step": 2, "losses": {"total": 9.0}}\n{"epoch": 1, "st')
    run(load_config(tiny), tmp_path / "run")
    assert results(tmp_path / "run") == alone


@pytest.mark.slow
def test_a_finished_run_is_left_as_it_is(tiny, tmp_path):
    run(load_config(tiny), tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*/*/*")}
    run(load_config(tiny), tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*/*/*")} == before


def test_the_resolved_configuration_gives_the_same_run(tiny, tmp_path, alone):
    run(load_config(tiny), tmp_path / "run")
    again = load_config(tmp_path / "run" / "config.toml")
    run(again, tmp_path / "again")
    assert results(tmp_path / "again") == alone
