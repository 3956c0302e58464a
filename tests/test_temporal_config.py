"""Stages over windows and extract stages in a configuration: what is refused, inherited and written out."""

from __future__ import annotations

import copy
import tomllib

import attrs
import pytest
from mtl_std.temporal import GRU, TCN

from mtl_toolkit import ConfigError, check_config, config_from, load_config
from mtl_toolkit.config import Config, ExtractStage, Stage, Windows, plain
from mtl_toolkit.pipeline import DataSource, survey
from mtl_toolkit.pipeline.misfits import misfit_networks

JOB = """
name = "job"

[tasks.expr]
head = { type = "expression", hidden = 8 }
[tasks.va]
head = { type = "valence-arousal", hidden = 8, bins = 5 }

[datasets.faces]
type = "synthetic-faces"
samples = 12
[datasets.videos]
type = "synthetic-videos"
videos = 2
frames = 60
missing = 0.0
seed = 1
[datasets.held_out]
type = "synthetic-videos"
videos = 1
frames = 60
seed = 2

[model]
image_size = 16
backbone = { type = "timm", name = "resnet10t", options = { channels = [4, 4, 8, 8], stem_width = 4 } }

[defaults]
epochs = 3
validation = [{ dataset = "held_out", task = "expr" }, { dataset = "held_out", task = "va" }]
streams = [
    { dataset = "videos", name = "e", task = "expr", batch_size = 2 },
    { dataset = "videos", name = "v", task = "va", batch_size = 2 },
]

[[stages]]
name = "cnn"
streams = [{ dataset = "faces", task = "expr" }, { dataset = "faces", name = "f", task = "va" }]

[[stages]]
name = "features"
kind = "extract"
network = "cnn"
datasets = ["videos", "held_out"]

[[stages]]
name = "teacher"
features = "features"
temporal = { type = "gru", hidden = 4 }
windows = { length = 8, stride = 4, gaps = "cut" }

[[stages]]
name = "student"
features = "features"
temporal = "tcn"
teacher = "teacher"
losses = [{ type = "distillation", weight = 0.4 }]

[[stages]]
name = "whole"
start_from = "cnn"
temporal = "gru"
windows = { length = 8 }
"""
RAW = tomllib.loads(JOB)


def stage_of(raw, name):
    return next(stage for stage in raw["stages"] if stage["name"] == name)


def changed(name, /, *without, **values):
    """A change of one stage: keys taken out, and keys set."""

    def change(raw):
        stage = stage_of(raw, name)
        for key in without:
            del stage[key]
        stage.update(values)

    return change


def added(**values):
    """A change that puts a stage at the end."""
    return lambda raw: raw["stages"].append(values)


def defaults(**values):
    """A change of what stages inherit."""
    return lambda raw: raw["defaults"].update(values)


def loaded(tmp_path, *changes):
    raw = copy.deepcopy(RAW)
    for change in changes:
        change(raw)
    return config_from(raw, base=tmp_path, title="job.toml")


def refusal(tmp_path, *changes):
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, *changes)
    assert all("\n" not in line for line in refused.value.problems)
    return list(refused.value.problems)


def findings(tmp_path, *changes):
    """What is found before training, in a configuration that is sound as such."""
    config = loaded(tmp_path, *changes).config
    return survey(config, DataSource(config))[1]


def network_findings(tmp_path, *changes):
    """The same as far as it is about networks, without a look at the data."""
    config = loaded(tmp_path, *changes).config
    return [line for stage in config.stages for line in misfit_networks(config, stage)]


def found_by(config, name):
    return next(stage for stage in config.stages if stage.name == name)


# What is refused when the file is read


def put_last(name):
    return lambda raw: raw["stages"].append(raw["stages"].pop(raw["stages"].index(stage_of(raw, name))))


WRONG_KIND = "(got {!r}, which is of kind {!r})"
KINDS = "must be 'train' or 'extract' or 'ensemble'"
HAS_IT = "unknown key for kind = {!r}; kind = {!r} has it"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            changed("teacher", "temporal"),
            "teacher.windows: are for a temporal network, but the stage names none",
        ),
        (
            changed("teacher", features="featurs"),
            "teacher.features: no earlier stage or folder of features 'featurs'; did you mean 'features'?",
        ),
        (
            changed("teacher", features="cnn"),
            f"teacher.features: must name a stage of kind 'extract' {WRONG_KIND.format('cnn', 'train')}; "
            "there are: features",
        ),
        (
            changed("teacher", features="cn/x"),
            "teacher.features: no earlier stage or folder of features 'cn/x'; there are: features",
        ),
        (
            changed("teacher", features="${NOT_SET_ANYWHERE}"),
            "teacher.features: the environment variable NOT_SET_ANYWHERE is not set "
            "(got '${NOT_SET_ANYWHERE}')",
        ),
        (
            changed("features", network="cn"),
            "features.network: no earlier stage or checkpoint 'cn'; did you mean 'cnn'?",
        ),
        (
            changed("features", network="features"),
            "features.network: no earlier stage or checkpoint 'features'; there are: cnn",
        ),
        (
            changed("features", network="whole"),
            "features.network: no earlier stage or checkpoint 'whole'; there are: cnn",
        ),
        (
            added(name="more", kind="extract", network="features", datasets=["videos"]),
            f"more.network: must name a stage of kind 'train' {WRONG_KIND.format('features', 'extract')}; "
            "there are: cnn, student, teacher, whole",
        ),
        (
            changed("student", teacher="features"),
            "student.teacher: must name a stage of kind 'train' or 'ensemble' "
            f"{WRONG_KIND.format('features', 'extract')}; there are: cnn, teacher",
        ),
        (
            changed("whole", start_from="features"),
            "whole.start_from: must name a stage of kind 'train' "
            f"{WRONG_KIND.format('features', 'extract')}; there are: cnn, student, teacher",
        ),
        (
            changed("features", datasets=["vidoes", "held_out"]),
            "features.datasets[0]: unknown dataset 'vidoes'; did you mean 'videos'?",
        ),
        (changed("features", datasets=[]), "features.datasets: must not be empty (got [])"),
        (
            changed("features", datasets=["videos", "videos"]),
            "features.datasets: must not name anything twice (got ['videos', 'videos'])",
        ),
        (changed("features", datasets="videos"), "features.datasets: must be a list [...] (got 'videos')"),
        (changed("features", part="head"), "features.part: must be 'heads' or 'trunk' (got 'head'); "),
        (
            changed("features", dtype="float46"),
            "features.dtype: must be 'float32' or 'float16' (got 'float46'); ",
        ),
        (changed("features", batch_size=0), "features.batch_size: must be at least 1 (got 0)"),
        (changed("features", "network"), "features.network: is missing"),
        (changed("features", "datasets"), "features.datasets: is missing"),
        (changed("teacher", windows={"length": 0}), "teacher.windows.length: must be at least 1 (got 0)"),
        (changed("teacher", windows={"stride": 0}), "teacher.windows.stride: must be at least 1 (got 0)"),
        (changed("teacher", windows={"step": 1.5}), "teacher.windows.step: must be a whole number (got 1.5)"),
        (
            changed("teacher", windows={"gaps": "dorp"}),
            "teacher.windows.gaps: must be 'drop' or 'cut' (got 'dorp'); did you mean 'drop'?",
        ),
        (
            changed("teacher", windows={"lenght": 8}),
            "teacher.windows.lenght: unknown key; did you mean 'length'?",
        ),
        (changed("teacher", windows=8), "teacher.windows: must be a table { ... } (got 8)"),
        (
            changed("teacher", temporal="gur"),
            "teacher.temporal: unknown temporal 'gur'; did you mean 'gru'?",
        ),
        (
            changed("teacher", temporal={"type": "transformer", "heads": 3}),
            "teacher.temporal.heads: must divide the width, 128 (got 3)",
        ),
        (
            changed("features", kind="extrct"),
            f"features.kind: {KINDS} (got 'extrct'); did you mean 'extract'?",
        ),
        (
            changed("features", kind="other"),
            f"features.kind: {KINDS} (got 'other')",
        ),
        (changed("features", kind=3), f"features.kind: {KINDS} (got 3)"),
        (
            changed("features", kind=["a"]),
            f"features.kind: {KINDS} (got ['a'])",
        ),
        (
            changed("features", kind={"a": 1}),
            f"features.kind: {KINDS} (got a table)",
        ),
        (changed("features", batchsize=8), "features.batchsize: unknown key; did you mean 'batch_size'?"),
        (changed("features", networks="x"), "features.networks: unknown key; did you mean 'network'?"),
        (changed("features", epochs=3), f"features.epochs: {HAS_IT.format('extract', 'train')}"),
        (changed("cnn", part="trunk"), f"cnn.part: {HAS_IT.format('train', 'extract')}"),
        (
            changed("features", name="a/b"),
            "\"a/b\".name: must be letters, digits, '_', '-', '.' or '+', starting with a letter or digit "
            "(got 'a/b')",
        ),
    ],
)
def test_a_wrong_stage_is_one_line_with_its_key_first(tmp_path, change, line):
    first, *more = refusal(tmp_path, change)
    assert first.startswith(f"job.toml: stages.{line}")
    assert all("features" in other for other in more)  # of those that name the stage which is wrong


def test_features_of_a_later_stage_are_not_there_yet(tmp_path):
    message = "no earlier stage or folder of features 'features'; there are none"
    assert refusal(tmp_path, put_last("features")) == [
        f"job.toml: stages.teacher.features: {message}",
        f"job.toml: stages.student.features: {message}",
    ]


def test_a_dataset_must_be_extracted_to_be_read_as_features(tmp_path):
    """Stages on pictures read the others as before."""
    only = "stage 'features' extracts no features of dataset"
    assert refusal(tmp_path, changed("features", datasets=["held_out"])) == [
        f"job.toml: defaults.streams[{index}].dataset: {only} 'videos'; there are: held_out".replace(
            f"streams[{index}]", f"streams.{name}"
        )
        for index, name in enumerate("ev")
    ]
    own = [{"dataset": "faces", "task": "expr"}]
    assert refusal(tmp_path, changed("teacher", validation=own)) == [
        f"job.toml: stages.teacher.validation[0].dataset: {only} 'faces'; there are: held_out, videos"
    ]


def test_an_unknown_dataset_of_a_stage_on_features_is_told_once(tmp_path):
    own = [{"dataset": "vidoes", "task": "expr"}]
    assert refusal(tmp_path, changed("teacher", streams=own)) == [
        "job.toml: stages.teacher.streams[0].dataset: unknown dataset 'vidoes'; did you mean 'videos'?"
    ]


def test_an_extract_stage_without_its_kind_is_told_which_kind_it_looks_like(tmp_path):
    lines = refusal(tmp_path, changed("features", "kind"))
    assert lines == [
        f"job.toml: stages.features.network: {HAS_IT.format('train', 'extract')}",
        f"job.toml: stages.features.datasets: {HAS_IT.format('train', 'extract')}",
    ]


def test_two_stages_of_different_kinds_cannot_share_a_name(tmp_path):
    lines = refusal(tmp_path, changed("features", name="cnn"))
    assert lines[0] == "job.toml: stages.cnn.name: must differ from the other stages' (got 'cnn' twice)"


# What stages inherit


def test_an_extract_stage_inherits_no_keys_of_training(tmp_path):
    config = loaded(tmp_path).config
    assert found_by(config, "features") == ExtractStage(
        name="features", network="cnn", datasets=("videos", "held_out")
    )
    assert {stage.epochs for stage in config.trainings} == {3}


def test_an_extract_stage_inherits_its_own_keys_and_training_does_not(tmp_path):
    config = loaded(tmp_path, defaults(batch_size=7, dtype="float16")).config
    stage = found_by(config, "features")
    assert (stage.batch_size, stage.dtype) == (7, "float16")
    assert found_by(config, "teacher").streams[0].batch_size == 2


def test_training_stages_inherit_windows_and_the_temporal_network(tmp_path):
    without = [changed(name, "temporal") for name in ("teacher", "student", "whole")]
    shared = defaults(temporal={"type": "gru", "hidden": 6}, windows={"length": 5})
    config = loaded(tmp_path, *without, shared, changed("teacher", "windows")).config
    for name in ("cnn", "teacher", "student"):
        assert found_by(config, name).temporal == GRU(hidden=6)
        assert found_by(config, name).windows == Windows(length=5)
    assert found_by(config, "whole").windows == Windows(length=8)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"epocsh": 3}, "defaults.epocsh: unknown key; did you mean 'epochs'?"),
        ({"batchsize": 3}, None),
        ({"epochs": 0}, "defaults.epochs: must be at least 1 (got 0)"),
        ({"batch_size": 0}, "defaults.batch_size: must be at least 1 (got 0)"),
        ({"kind": "extract"}, "defaults.kind: must be given by the stages themselves"),
        ({"kind": "trian"}, "defaults.kind: must be given by the stages themselves"),
    ],
)
def test_a_wrong_default_is_told_once_where_it_stands(tmp_path, values, line):
    (found,) = refusal(tmp_path, defaults(**values))
    if line is None:
        assert found.startswith("job.toml: defaults.batchsize: unknown key; ")
    else:
        assert found == f"job.toml: {line}"


def test_a_default_that_no_stage_there_can_take_is_not_passed_over(tmp_path):
    def only_training(raw):
        raw["stages"] = [stage_of(raw, "cnn")]

    assert refusal(tmp_path, only_training, defaults(batch_size=8)) == [
        f"job.toml: defaults.batch_size: {HAS_IT.format('train', 'extract')}"
    ]


def test_without_a_stage_that_trains_its_defaults_wait_and_others_are_told(tmp_path):
    (tmp_path / "there").mkdir()

    def only_extract(raw):
        raw["stages"] = [stage_of(raw, "features") | {"network": "there"}]

    stage = found_by(loaded(tmp_path, only_extract).config, "features")
    assert stage.network == str(tmp_path / "there")
    (line,) = refusal(tmp_path, only_extract, defaults(epocsh=3))
    assert line.startswith("job.toml: defaults.epocsh: unknown key; ")


# What is found before training


NO_CHECKPOINT = "no checkpoint there (neither best/checkpoint.json nor checkpoint.json)"


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ([], []),
        (
            [changed("student", teacher="cnn")],
            ["stages.student: teacher 'cnn': takes pictures, the stage features"],
        ),
        (
            [changed("student", teacher={"expr": "cnn", "va": "teacher"})],
            ["stages.student: teacher 'cnn': takes pictures, the stage features"],
        ),
        (
            [changed("whole", start_from="teacher")],
            ["stages.whole: start_from 'teacher': takes features, the stage pictures"],
        ),
        (
            [changed("student", start_from="cnn")],
            [
                "stages.student: start_from 'cnn': takes pictures, the stage features",
                "stages.student: start_from 'cnn': has no temporal network to start from",
            ],
        ),
        (
            [changed("student", start_from="teacher")],
            ["stages.student: start_from 'teacher': its temporal network is 'gru', the stage's 'tcn'"],
        ),
        (
            [changed("student", start_from="teacher", temporal={"type": "gru", "dropout": 0.2, "hidden": 4})],
            [],
        ),
        (
            [added(name="late", teacher="whole", losses=[{"type": "distillation"}])],
            ["stages.late: teacher 'whole': looks at windows of frames, the stage at single pictures"],
        ),
        (
            [added(name="late", start_from="whole")],
            ["stages.late: start_from 'whole': looks at windows of frames, the stage at single pictures"],
        ),
        (
            [added(name="late", features="features", teacher="teacher", losses=[{"type": "distillation"}])],
            ["stages.late: teacher 'teacher': looks at windows of frames, the stage at single features"],
        ),
        (
            [added(name="more", kind="extract", network="whole", datasets=["videos"])],
            ["stages.more.network: must work on single pictures (got 'whole')"],
        ),
        (
            [added(name="more", kind="extract", network="teacher", datasets=["videos"])],
            ["stages.more.network: must work on single pictures (got 'teacher')"],
        ),
        (
            [
                added(name="heads", features="features"),
                added(name="more", kind="extract", network="heads", datasets=["videos"]),
            ],
            ["stages.more.network: must work on single pictures (got 'heads')"],
        ),
        (
            [changed("whole", temporal="gru", teacher="cnn", losses=[{"type": "distillation"}])],
            [],
        ),
    ],
)
def test_networks_that_do_not_fit_are_found_before_training(tmp_path, changes, lines):
    assert network_findings(tmp_path, *changes) == lines


def test_tasks_without_features_are_named(tmp_path):
    own = [{"dataset": "faces", "task": "expr"}]
    one_task = changed("cnn", streams=own, validation=[{"dataset": "held_out", "task": "expr"}])
    assert network_findings(tmp_path, one_task) == [
        "stages.teacher.features: the network has no task 'va'; there are: expr",
        "stages.student.features: the network has no task 'va'; there are: expr",
        "stages.whole: start_from 'cnn': has no task 'va'; there are: expr",
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"part": "trunk"}, "reads features of 'cnn' (heads), the stage of 'cnn' (trunk)"),
        ({"network": "other"}, "reads features of 'cnn' (heads), the stage of 'other' (heads)"),
        ({"dtype": "float16"}, None),
        ({"batch_size": 4}, None),
    ],
)
def test_a_teacher_must_read_the_same_features_as_its_student(tmp_path, change, line):
    """As wide and of the same tasks, they would pass for each other and mean something else."""

    def second(raw):
        other = {"name": "other", "streams": stage_of(raw, "cnn")["streams"]}
        more = {**stage_of(raw, "features"), "name": "more", **change}
        raw["stages"][2:2] = [other, more]

    lines = network_findings(tmp_path, second, changed("student", features="more"))
    assert lines == ([] if line is None else [f"stages.student: teacher 'teacher': {line}"])


def test_a_network_that_is_not_there_is_told_of_the_extract_stage_alone(tmp_path):
    (tmp_path / "empty").mkdir()
    assert findings(tmp_path, changed("features", network="empty")) == [
        f"stages.features.network: {tmp_path / 'empty'}: {NO_CHECKPOINT}"
    ]


def test_a_folder_without_features_is_told_of_each_stage_that_names_it(tmp_path):
    (tmp_path / "empty").mkdir()
    missing = f"{tmp_path / 'empty'}: no features there (network/checkpoint.json is missing)"
    assert findings(tmp_path, changed("teacher", features="empty")) == [f"stages.teacher.features: {missing}"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            changed("whole", windows={"length": 500}),
            "stages.whole: 'videos': no video has 500 frames without a gap; "
            'shorten windows.length, or set windows.gaps = "cut"',
        ),
        (
            changed("whole", streams=[{"dataset": "faces", "task": "expr"}]),
            "stages.whole: 'faces': windows need to know each sample's video and frame; "
            "the dataset has no 'video'",
        ),
    ],
)
def test_data_without_windows_is_told_with_stage_and_dataset(tmp_path, change, line):
    assert findings(tmp_path, change) == [line]


# Overrides, writing out, and use as a library


def test_stages_of_both_kinds_are_overridden_by_name(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(JOB)
    sets = (
        "stages.features.batch_size=8",
        "stages.features.datasets=['held_out', 'videos']",
        "stages.features.datasets.1=videos",
        "stages.teacher.temporal.hidden=6",
        "stages.student.temporal.channels=6",
        "stages.whole.windows.stride=3",
    )
    config = load_config(path, overrides=sets).config
    assert found_by(config, "features").batch_size == 8
    assert found_by(config, "features").datasets == ("held_out", "videos")
    assert found_by(config, "teacher").temporal == GRU(hidden=6)
    assert found_by(config, "student").temporal == TCN(channels=6)
    assert found_by(config, "whole").windows == Windows(length=8, stride=3)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("stages.featurs.batch_size=8", "stages.featurs: no such item; did you mean 'features'?"),
        ("stages.features.batch_size=0", "stages.features.batch_size: must be at least 1 (got 0)"),
        ("stages.features.epochs=2", f"stages.features.epochs: {HAS_IT.format('extract', 'train')}"),
        ("stages.features.kind=train", "stages.features.network: "),
    ],
)
def test_a_wrong_override_of_an_extract_stage_is_one_line(tmp_path, override, line):
    path = tmp_path / "job.toml"
    path.write_text(JOB)
    with pytest.raises(ConfigError) as refused:
        load_config(path, overrides=(override,))
    assert line in refused.value.problems[0]


def test_windows_are_written_out_for_every_temporal_network_and_no_other(tmp_path):
    config = loaded(tmp_path).config
    assert found_by(config, "student").windows == Windows(length=32, stride=16, gaps="drop", step=1)
    assert found_by(config, "cnn").windows is None


def test_the_resolved_configuration_loads_as_the_same(tmp_path):
    made = loaded(tmp_path, changed("features", dtype="float16"), added(name="heads", features="features"))
    path = tmp_path / "elsewhere" / "config.toml"
    path.parent.mkdir()
    path.write_text(made.to_toml())
    again = load_config(path)
    assert again.config == made.config
    assert again.to_toml() == made.to_toml()
    kinds = [stage["kind"] for stage in tomllib.loads(made.to_toml())["stages"]]
    assert kinds == ["train", "extract", "train", "train", "train", "train"]


def test_paths_of_networks_and_features_are_written_out_in_full(tmp_path):
    (tmp_path / "runs").mkdir()
    config = loaded(tmp_path, changed("features", network="runs"), changed("teacher", features="runs")).config
    assert found_by(config, "features").network == str(tmp_path / "runs")
    assert found_by(config, "teacher").features == str(tmp_path / "runs")
    assert found_by(config, "student").features == "features"


def test_a_configuration_made_in_python_is_checked_and_filled_in_alike(tmp_path):
    config = loaded(tmp_path).config
    cnn, teacher = found_by(config, "cnn"), found_by(config, "teacher")
    made = Config(
        name="job",
        tasks=config.tasks,
        datasets=config.datasets,
        model=config.model,
        stages=(
            cnn,
            ExtractStage(name="features", network="cnn", datasets=("videos", "held_out")),
            Stage(
                name="gru",
                features="features",
                temporal=GRU(),
                streams=teacher.streams,
                validation=teacher.validation,
                balancer=teacher.balancer,
            ),
        ),
    )
    found = check_config(made, base=tmp_path)
    assert [stage.name for stage in found.config.trainings] == ["cnn", "gru"]
    assert found_by(found.config, "gru").windows == Windows()
    assert plain(found_by(found.config, "features"))["kind"] == "extract"
    assert survey(found.config, DataSource(found.config))[1] == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"teacher": {"temporal": None}},
            "stages.teacher.windows: are for a temporal network, but the stage names none",
        ),
        (
            {"features": {"network": "cn"}},
            "stages.features.network: no earlier stage or checkpoint 'cn'; did you mean 'cnn'?",
        ),
        (
            {"teacher": {"features": "cnn"}},
            "stages.teacher.features: must name a stage of kind 'extract' "
            f"{WRONG_KIND.format('cnn', 'train')}; there are: features",
        ),
    ],
)
def test_problems_of_a_configuration_made_in_python_are_told_alike(tmp_path, change, line):
    config = loaded(tmp_path).config
    stages = [attrs.evolve(stage, **change.get(stage.name, {})) for stage in config.stages]
    with pytest.raises(ConfigError) as refused:
        check_config(attrs.evolve(config, stages=tuple(stages)), base=tmp_path)
    assert refused.value.problems == (f"config: {line}",)


def test_frames_of_windows_are_not_mixed(tmp_path):
    assert refusal(tmp_path, changed("teacher", augmentation={"mixup": 0.2})) == [
        "job.toml: stages.teacher.augmentation.mixup: "
        "mixes single rows, but the stage works on windows of frames"
    ]
