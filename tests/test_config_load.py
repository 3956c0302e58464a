"""A TOML file becomes a checked configuration, or a list of problems in the file's order."""

from __future__ import annotations

import textwrap
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_toolkit.config import (
    Config,
    Model,
    Plugins,
    Stage,
    Stream,
    Task,
    check_config,
    config_from,
    load_config,
    plain,
)
from mtl_toolkit.config.overrides import apply_override
from mtl_toolkit.errors import ConfigError, PluginError
from mtl_toolkit.registry import Registry

JOB = """
name = "job"

[defaults]
optimizer = { type = "SGD", lr = 0.1, momentum = 0.9 }
streams = [
    { dataset = "faces", task = "expr", sampler = "balanced" },
    { dataset = "more", task = "expr_va", name = "mixed" },
]
validation = [{ dataset = "faces", task = "expr" }]

[tasks]
expr.head = "binned"
va = { head = { type = "binned", bins = 10 }, losses = ["focal"] }
expr_va.head = { type = "both", tasks = ["expr", "va"] }

[datasets]
faces = { type = "folder", path = "data/faces" }
more = { type = "folder", path = "${MORE}" }

[model]
backbone = { type = "net", name = "large" }

[[stages]]
name = "teacher"
epochs = 3

[[stages]]
name = "student"
teacher = "teacher"
losses = [{ type = "imitate", weight = 0.4 }]
optimizer.lr = 0.01
"""


@pytest.fixture
def job(kit, tmp_path, monkeypatch):
    """Write a TOML file and load it with the plugins of `kit` alone."""
    monkeypatch.setenv("MORE", "/more")

    def load(text=JOB, *overrides, disable=(), change=None):
        if change:
            assert text.count(change[0]) == 1
            text = text.replace(*change)
        path = tmp_path / "abaw.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load_config(
            path, overrides=overrides, disable_plugins=disable, entry_points=kit.entry_points()
        )

    return load


@pytest.fixture
def lines(job):
    """The problems of a job, one line each."""

    def run(*args, **options):
        with pytest.raises(ConfigError) as error:
            job(*args, **options)
        return list(error.value.problems)

    return run


class TestSoundFile:
    def test_becomes_recipes_with_all_defaults(self, job, tmp_path):
        config = job().config
        assert config.tasks["va"].head.bins == 10
        assert [loss.name for loss in config.tasks["va"].losses] == ["focal"]
        assert [loss.name for loss in config.tasks["expr"].losses] == ["plain"]
        assert config.model.backbone.model == "large"
        assert config.model.architecture.name == "shared"
        assert config.datasets["faces"].path == tmp_path / "data/faces"
        assert config.datasets["more"].path == Path("/more")

    def test_stage_takes_from_defaults_the_keys_it_lacks(self, job):
        teacher, student = job().config.stages
        assert [stream.sampler.name for stream in teacher.streams] == ["balanced", "shuffle"]
        assert (teacher.optimizer.type, teacher.optimizer.lr) == ("SGD", 0.1)
        assert teacher.optimizer.options == {"momentum": 0.9}
        assert (student.optimizer.type, student.optimizer.lr) == ("AdamW", 0.01)

    def test_ground_truth_gets_the_weight_that_the_teacher_leaves(self, job):
        teacher, student = job().config.stages
        assert (teacher.ground_truth_weight, student.ground_truth_weight) == (1.0, 0.6)

    def test_best_epoch_is_chosen_by_the_heads_own_metrics(self, job):
        assert job().config.stages[0].select == {"faces/expr/score": 1.0}

    def test_names_the_plugins_it_uses(self, job, kit):
        kit.add_loss("unused", "one", "")
        assert [str(source) for source in job().sources()] == ["kit:kit"]

    def test_written_out_it_loads_as_the_same(self, job):
        config = job().config
        assert job(job().to_toml()).config == config
        assert not config.plugins.disable

    def test_may_start_with_a_byte_order_mark(self, job):
        assert job("\ufeff" + JOB.lstrip()).config.name == "job"

    def test_path_may_be_a_string(self, job, kit, tmp_path):
        job()
        assert load_config(str(tmp_path / "abaw.toml"), entry_points=kit.entry_points()).config.name == "job"


NAMES = st.text("abcXYZ019_-.+", min_size=1, max_size=6).filter(lambda name: name[0] not in "-.+")
TASK_NAMES = NAMES.filter(lambda name: "." not in name)
NUMBERS = st.floats(0.001, 1e6)


@st.composite
def tables(draw):
    """The tables of some sound job."""
    tasks = draw(st.lists(TASK_NAMES, min_size=1, max_size=3, unique=True))
    datasets = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    feeds = st.fixed_dictionaries(
        {"dataset": st.sampled_from(datasets), "task": st.sampled_from(tasks)},
        optional={"batch_size": st.integers(1, 99), "sampler": st.sampled_from(["shuffle", "balanced"])},
    )
    stages = st.fixed_dictionaries(
        {"name": NAMES, "streams": st.lists(feeds, min_size=1, max_size=3, unique_by=lambda f: f["dataset"])},
        optional={
            "epochs": st.integers(1, 99),
            "epoch_length": st.sampled_from(["shortest", "longest"]) | st.integers(1, 99),
            "clip_norm": NUMBERS,
            "optimizer": st.fixed_dictionaries({"lr": NUMBERS, "betas": st.lists(NUMBERS, max_size=2)}),
            "augmentation": st.fixed_dictionaries({"flip": st.booleans(), "erase": st.floats(0, 1)}),
            "balancer": st.fixed_dictionaries(
                {"type": st.just("sum"), "weights": st.dictionaries(NAMES, NUMBERS)}
            ),
            "losses": st.lists(st.sampled_from(["plain", "focal"]), max_size=2),
        },
    )
    heads = st.fixed_dictionaries({"type": st.just("binned")}, optional={"bins": st.integers(2, 99)})
    return {
        "name": draw(NAMES),
        "tasks": {name: {"head": draw(heads)} for name in tasks},
        "datasets": {name: {"type": "folder", "path": draw(NAMES)} for name in datasets},
        "model": {"backbone": "net", "mean": draw(st.lists(NUMBERS, min_size=3, max_size=3))},
        "stages": draw(st.lists(stages, min_size=1, max_size=3, unique_by=lambda stage: stage["name"])),
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(raw=tables())
def test_any_sound_configuration_written_out_loads_as_the_same(kit, tmp_path, raw):
    loaded = config_from(raw, base=Path("/base"), entry_points=kit.entry_points())
    path = tmp_path / "config.toml"
    path.write_text(loaded.to_toml(), encoding="utf-8")
    assert load_config(path, entry_points=kit.entry_points()).config == loaded.config


class TestUnreadableFile:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"a = ", "abaw.toml: not valid TOML: Invalid value (at end of document)"),
            (b"a = 1\na = 2\n", "abaw.toml: not valid TOML: Cannot overwrite a value"),
            (b"name = '\xff'", "abaw.toml: not valid TOML: it is not UTF-8 (byte 8)"),
        ],
    )
    def test_that_is_not_toml_says_why(self, tmp_path, content, message):
        path = tmp_path / "abaw.toml"
        path.write_bytes(content)
        with pytest.raises(ConfigError) as error:
            load_config(path)
        (line,) = error.value.problems
        assert line.startswith(message)

    def test_that_is_missing_or_a_folder_is_named(self, tmp_path):
        with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
            load_config(tmp_path / "none.toml")
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            load_config(tmp_path)


class TestProblems:
    def test_of_all_tables_come_at_once_in_file_order_with_their_key(self, lines):
        text = """
            seeds = 1
            name = 5
            [tasks.va]
            head = { type = "binned", bins = 0, axis = ["x"] }
            [tasks.expr]
            head = { type = "bined" }
            losses = ["plain", "focl", { type = "focal", gamma = "2" }]
            [[stages]]
            name = "teacher"
            streams = [
                { dataset = "faces", task = "va", batch_size = 2.5 },
                { dataset = "faces", task = "vb", sampler = "balancd" },
                { dataset = "faces", task = "va", name = "third", batch_size = 0 },
            ]
            epochs = true
            [[stages]]
            streams = "all"
            optimizer = { lr = 0 }
            [stages.augmentation]
            erase = 1.5
            [trainer]
            precision = "fp23"
            [datasets]
            faces = { type = "folder", path = "${NOT_SET_ANYWHERE}/x" }
        """
        assert lines(text) == [
            "abaw.toml: seeds: unknown key; did you mean 'seed'?",
            "abaw.toml: name: must be a string (got 5)",
            "abaw.toml: tasks.va.head.bins: must be at least 2 (got 0)",
            "abaw.toml: tasks.va.head.axis: unknown key; did you mean 'axes'?",
            "abaw.toml: tasks.expr.head.type: unknown head 'bined'; did you mean 'binned'?",
            "abaw.toml: tasks.expr.losses[1]: unknown loss 'focl'; did you mean 'focal'?",
            "abaw.toml: tasks.expr.losses[2].gamma: must be a number (got '2')",
            "abaw.toml: stages.teacher.streams[0].batch_size: must be a whole number (got 2.5)",
            "abaw.toml: stages.teacher.streams[1].task: unknown task 'vb'; there are: expr, va",
            "abaw.toml: stages.teacher.streams[1].sampler: unknown sampler 'balancd'; "
            "did you mean 'balanced'?",
            "abaw.toml: stages.teacher.streams.third.batch_size: must be at least 1 (got 0)",
            "abaw.toml: stages.teacher.epochs: must be a whole number (got true)",
            "abaw.toml: stages[1].streams: must be a list [...] (got 'all')",
            "abaw.toml: stages[1].optimizer.lr: must be above 0 (got 0.0)",
            "abaw.toml: stages[1].augmentation.erase: must be between 0 and 1 (got 1.5)",
            "abaw.toml: stages[1].name: is missing",
            "abaw.toml: trainer.precision: must be 'fp32' or 'bf16' or 'fp16' (got 'fp23'); "
            "did you mean 'fp32'?",
            "abaw.toml: datasets.faces.path: the environment variable NOT_SET_ANYWHERE is not set "
            "(got '${NOT_SET_ANYWHERE}/x')",
            "abaw.toml: model: is missing",
        ]

    def test_of_what_stages_inherit_are_told_once_where_they_stand(self, lines):
        found = lines(change=("[defaults]", '[defaults]\nepoch = 5\nclip_norm = -1\npatience = "x"'))
        assert found == [
            "abaw.toml: defaults.epoch: unknown key; did you mean 'epochs'?",
            "abaw.toml: defaults.clip_norm: must be above 0 (got -1.0)",
            "abaw.toml: defaults.patience: must be a whole number (got 'x')",
        ]

    def test_between_tables_are_told_where_they_stand_too(self, lines):
        assert lines(change=('task = "expr", sampler', 'task = "exp", sampler')) == [
            "abaw.toml: defaults.streams[0].task: unknown task 'exp'; did you mean 'expr'?"
        ]

    def test_name_that_is_no_bare_key_is_quoted(self, lines):
        assert lines(change=("[datasets]", '[datasets]\n"a.b c" = { type = "folder" }')) == [
            'abaw.toml: datasets."a.b c".path: is missing'
        ]

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("defaults = 3", "abaw.toml: defaults: must be a table (got 3)"),
            ("stages = 3", "abaw.toml: stages: must be a list [...] (got 3)"),
            ("stages = [3]", "abaw.toml: stages[0]: must be a table { ... } (got 3)"),
            ("stages = []", "abaw.toml: stages: must not be empty (got [])"),
            ("[stages.teacher]", "abaw.toml: stages: must be a list [...] (got a table)"),
            ("plugins = 3", "abaw.toml: plugins: must be a table { ... } (got 3)"),
            ("plugins.disable = 3", "abaw.toml: plugins.disable: must be a list [...] (got 3)"),
            ("plugins.disable = [3]", "abaw.toml: plugins.disable[0]: must be a string (got 3)"),
            ("tasks = {}", "abaw.toml: tasks: must not be empty (got an empty table)"),
            ("tasks = [1]", "abaw.toml: tasks: must be a table (got [1])"),
            (
                "model.backbone = 'net'\nmodel.std = [1, 0, 1]",
                "abaw.toml: model.std: every item must be above 0",
            ),
            ("model.backbone = 'net'\nmodel.mean = [1]", "abaw.toml: model.mean: must have 3 items (got 1)"),
        ],
    )
    def test_of_a_table_of_the_wrong_shape(self, lines, text, line):
        found = lines(text)
        assert [one for one in found if one.startswith(line)] == found[:1]
        assert "abaw.toml: datasets: is missing" in found


class TestPlugins:
    def test_that_failed_is_told_where_it_is_needed(self, kit, lines):
        kit.add("broken", {"dice": "import no_such_module_at_all"}, "3.1")
        (line,) = lines(change=('losses = ["focal"]', 'losses = ["dice"]'))
        assert line.startswith(
            "abaw.toml: tasks.va.losses[0]: loss 'dice' cannot be used: broken:dice 3.1 failed"
        )
        assert "no_such_module_at_all" in line

    def test_that_failed_is_no_matter_where_it_is_not_needed(self, kit, job):
        kit.add("broken", {"dice": "import no_such_module_at_all"})
        assert job().config.name == "job"

    @pytest.fixture
    def doubled(self, kit, loss_source):
        kit.add("my-losses", {"focal": loss_source("", name="focal")})

    @pytest.mark.usefixtures("doubled")
    def test_of_the_same_name_are_an_error_only_where_the_name_is_used(self, job, lines):
        (line,) = lines()
        assert line.startswith(
            "abaw.toml: tasks.va.losses[0]: loss 'focal' is brought by kit:kit 1.0 and my-losses"
        )
        assert job(change=('losses = ["focal"]', 'losses = ["plain"]')).config.name == "job"

    @pytest.mark.usefixtures("doubled")
    def test_of_the_same_name_are_settled_by_disable(self, job):
        by_file = job("plugins.disable = ['My_Losses:focal']\n" + JOB)
        by_option = job(disable=["my-losses:focal"])
        for loaded in (by_file, by_option):
            assert type(loaded.config.tasks["va"].losses[0]).__name__ == "Focal"
        assert by_option.config.plugins.disable == ("my-losses:focal",)

    @pytest.mark.usefixtures("doubled")
    def test_switched_off_in_file_and_by_option_add_up(self, kit, job):
        kit.add_loss("third", "one", "")
        loaded = job("plugins.disable = ['my-losses:focal']\n" + JOB, disable=["third:one"])
        assert {str(source) for source in loaded.registry.disabled} == {"my-losses:focal", "third:one"}

    def test_to_switch_off_that_are_unknown_are_problems_like_others(self, lines):
        text = "plugins.disable = ['kit:kat']\n" + JOB.replace("epochs = 3", "epochs = 0")
        assert lines(text) == [
            "abaw.toml: plugins.disable[0]: no installed plugin 'kit:kat' (written as "
            "distribution:entry-point); did you mean 'kit:kit'?",
            "abaw.toml: stages.teacher.epochs: must be at least 1 (got 0)",
        ]

    def test_to_switch_off_by_option_that_are_unknown_name_the_option(self, job):
        with pytest.raises(PluginError, match="--disable-plugin kit:kat: no installed plugin 'kit:kat'"):
            job(disable=["kit:kat"])

    def test_option_leaves_a_broken_table_to_the_check(self, lines, kit):
        kit.add_loss("third", "one", "")
        assert "abaw.toml: plugins: must be a table { ... } (got 3)" in lines(
            "plugins = 3", disable=["third:one"]
        )


class TestSet:
    @pytest.mark.parametrize(
        ("override", "read", "expected"),
        [
            ("seed=7", lambda c: c.seed, 7),
            (" seed = 7 ", lambda c: c.seed, 7),
            ("name=other", lambda c: c.name, "other"),
            ('name="2021"', lambda c: c.name, "2021"),
            ("trainer.precision=bf16", lambda c: c.trainer.precision, "bf16"),
            ("stages.teacher.epochs=5", lambda c: c.stages[0].epochs, 5),
            ("stages.1.epochs=5", lambda c: c.stages[1].epochs, 5),
            ("stages.student.losses.0.weight=0.5", lambda c: c.stages[1].losses[0].weight, 0.5),
            ("stages.teacher.select={score=2}", lambda c: c.stages[0].select, {"faces/expr/score": 2.0}),
            ("tasks.va.head.axes=['a']", lambda c: c.tasks["va"].head.axes, ("a",)),
            ("tasks.expr.head.bins=3", lambda c: c.tasks["expr"].head.bins, 3),
            ("model.backbone.name=tiny", lambda c: c.model.backbone.model, "tiny"),
            ("defaults.streams.mixed.batch_size=9", lambda c: c.stages[0].streams[1].batch_size, 9),
            ("defaults.streams.faces.batch_size=9", lambda c: c.stages[1].streams[0].batch_size, 9),
            ("datasets.more={type='folder', path='/x'}", lambda c: c.datasets["more"].path, Path("/x")),
        ],
    )
    def test_changes_one_value(self, job, override, read, expected):
        assert read(job(JOB, override).config) == expected

    def test_on_an_inherited_table_changes_one_stage_and_keeps_the_rest_of_the_table(self, job):
        """The stage's own table would take the place of the one in [defaults], so it starts as a copy."""
        teacher, student = job(JOB, "stages.teacher.optimizer.lr=0.5").config.stages
        assert (teacher.optimizer.type, teacher.optimizer.lr) == ("SGD", 0.5)
        assert student.optimizer.lr == 0.01
        teacher, student = job(JOB, "stages.teacher.streams.0.batch_size=9").config.stages
        assert (teacher.streams[0].batch_size, student.streams[0].batch_size) == (9, 64)

    def test_on_a_plugin_by_name_alone_makes_it_a_table(self, job):
        config = job(JOB, "defaults.streams.0.sampler.power=0.5").config
        assert config.stages[0].streams[0].sampler.power == 0.5

    def test_reaches_names_with_dots_in_quotes(self, job):
        text = JOB.replace("faces =", '"a.b" =').replace('"faces"', '"a.b"')
        config = job(text, 'datasets."a.b".path="/y"').config
        assert config.datasets["a.b"].path == Path("/y")

    def test_of_several_apply_in_order(self, job):
        assert job(JOB, "seed=1", "seed=2").config.seed == 2

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("seed", "--set seed: must be KEY.PATH=VALUE"),
            ("=3", "--set =3: must be KEY.PATH=VALUE"),
            ("stages..epochs=3", "--set stages..epochs=3: must be KEY.PATH=VALUE"),
            (
                "stages.teachr.epochs=3",
                "--set stages.teachr.epochs=3: stages.teachr: no such item; did you mean 'teacher'?",
            ),
            (
                "stages.2.epochs=3",
                "--set stages.2.epochs=3: stages.2: no such item; there are: student, teacher",
            ),
            ("stages.-1.epochs=3", "--set stages.-1.epochs=3: stages.-1: no such item; there are: "),
            ("stages.2={}", "--set stages.2={}: stages.2: no such item; there are: "),
            (
                "stages.teacher.epochs.x=3",
                "--set stages.teacher.epochs.x=3: stages.teacher.epochs is not a table (in abaw.toml)",
            ),
            (
                "stages.teacher.epochs.x.y=3",
                "--set stages.teacher.epochs.x.y=3: stages.teacher.epochs.x: is not in a table",
            ),
        ],
    )
    def test_that_leads_nowhere_says_so(self, lines, override, message):
        (line,) = lines(JOB, override)
        assert line.startswith(message)

    def test_of_an_unknown_key_suggests_the_nearest(self, lines):
        assert lines(JOB, "trainr.workers=2") == ["abaw.toml: trainr: unknown key; did you mean 'trainer'?"]

    def test_of_the_wrong_type_is_told_as_in_the_file(self, lines):
        assert lines(JOB, "stages.teacher.epochs=many") == [
            "abaw.toml: stages.teacher.epochs: must be a whole number (got 'many')"
        ]

    def test_of_a_name_that_several_items_have_asks_for_the_number(self):
        raw = {"streams": [{"dataset": "a"}, {"dataset": "a"}]}
        with pytest.raises(ConfigError, match="several items have this name; use their number"):
            apply_override(raw, "streams.a.batch_size=3")
        apply_override(raw, "streams.1.batch_size=3")
        assert raw == {"streams": [{"dataset": "a"}, {"dataset": "a", "batch_size": 3}]}


CROSS = {
    "a name that is no file name": (
        ('name = "job"', 'name = "a/b"'),
        "name: must be letters, digits, '_', '-', '.' or '+', starting with a letter or digit (got 'a/b')",
    ),
    "a stage called as a hidden file": (
        ('name = "student"', 'name = ".student"'),
        'stages.".student".name: must be letters, digits, ',
    ),
    "a stream called as a path": (
        ('name = "mixed"', 'name = "../x"'),
        'defaults.streams."../x".name: must be letters, digits, ',
    ),
    "two stages of one name": (
        ('name = "student"\nteacher = "teacher"', 'name = "teacher"\nteacher = "teacher"'),
        "stages.teacher.name: must differ from the other stages' (got 'teacher' twice)",
    ),
    "a member that is no task": (
        ('tasks = ["expr", "va"]', 'tasks = ["exp", "va"]'),
        "tasks.expr_va.head: must name tasks with outputs of their own (got 'exp'); did you mean 'expr'?",
    ),
    "a member that is itself combined": (
        ('tasks = ["expr", "va"]', 'tasks = ["expr_va"]'),
        "tasks.expr_va.head: must name tasks with outputs of their own (got 'expr_va'); did you mean ",
    ),
    "an unknown dataset": (
        ('dataset = "more"', 'dataset = "mor"'),
        "defaults.streams.mixed.dataset: unknown dataset 'mor'; did you mean 'more'?",
    ),
    "an unknown dataset of several": (
        ('dataset = "more"', 'dataset = ["faces", "mor"]'),
        "defaults.streams.mixed.dataset: unknown dataset 'mor'; did you mean 'more'?",
    ),
    "no dataset": (
        ('dataset = "more"', "dataset = []"),
        "defaults.streams.mixed.dataset: must name a dataset (got none)",
    ),
    "an unknown task": (
        (
            'validation = [{ dataset = "faces", task = "expr" }]',
            'validation = [{ dataset = "faces", task = "xy" }]',
        ),
        "defaults.validation[0].task: unknown task 'xy'; there are: expr, expr_va, va",
    ),
    "two streams of one name": (
        ('name = "mixed"', 'name = "faces"'),
        "defaults.streams.faces.name: must differ from the others' (got 'faces' twice); give it a name",
    ),
    "an epoch without steps": (
        ("epochs = 3", "epoch_length = 0"),
        "stages.teacher.epoch_length: must be at least 1 (got 0)",
    ),
    "a teacher's loss without a teacher": (
        ('teacher = "teacher"\n', ""),
        "stages.student.losses: 'imitate' compares with a teacher, but the stage names none",
    ),
    "a teacher without a loss": (
        ('losses = [{ type = "imitate", weight = 0.4 }]', ""),
        "stages.student.teacher: is named, but none of the stage's losses compares with a teacher",
    ),
    "a teacher that is neither an earlier stage nor a file": (
        ('teacher = "teacher"', 'teacher = "teachr"'),
        "stages.student.teacher: no earlier stage or checkpoint 'teachr'; did you mean 'teacher'?",
    ),
    "a stage that teaches itself": (
        ('teacher = "teacher"', 'teacher = "student"'),
        "stages.student.teacher: no earlier stage or checkpoint 'student'; ",
    ),
    "a teacher for an unknown task": (
        ('teacher = "teacher"', 'teacher = { exprr = "teacher" }'),
        "stages.student.teacher.exprr: unknown task 'exprr'; did you mean 'expr'?",
    ),
    "a teacher under an unset variable": (
        ('teacher = "teacher"', 'teacher = "${NOT_SET_ANYWHERE}/x"'),
        "stages.student.teacher: the environment variable NOT_SET_ANYWHERE is not set",
    ),
    "an average as a teacher, of which there is none": (
        ('teacher = "teacher"', 'teacher = "ema"'),
        "stages.student.teacher: is the average of the stage's own weights, but `ema` is not given",
    ),
    "an average as the teacher of one task": (
        ('teacher = "teacher"', 'teacher = { va = "ema" }'),
        "stages.student.teacher.va: is the average of the stage's own weights, but `ema` is not given",
    ),
    "a stage called as the average": (
        ('name = "student"', 'name = "ema"'),
        "stages.ema.name: must not be 'ema', which as a teacher is the average of a stage's own weights",
    ),
    "a climb in fp16": (
        ("epochs = 3", "optimizer.sam = 0.05\n[trainer]\nprecision = 'fp16'"),
        "stages.teacher.optimizer.sam: does not work in fp16, whose gradients are scaled; use precision ",
    ),
    "a measure of a climb that there is not": (
        ("epochs = 3", "optimizer.sam_adaptive = true"),
        "stages.teacher.optimizer.sam_adaptive: changes how `sam` climbs, but `sam` is not given",
    ),
    "a decay of one": (
        ("epochs = 3", "ema = 1.0"),
        "stages.teacher.ema: must be above 0 and below 1 (got 1.0)",
    ),
    "teachers that leave less than nothing": (
        ("weight = 0.4", "weight = 1.5"),
        "stages.student.ground_truth_weight: must be given, since the weights of the teacher losses add up",
    ),
    "teachers that leave nothing": (
        ("weight = 0.4", "weight = 1.0"),
        "stages.student.ground_truth_weight: must be given, since the weights of the teacher losses add up",
    ),
    "a start that is not there": (
        ("epochs = 3", 'start_from = "runs/x"'),
        "stages.teacher.start_from: no earlier stage or checkpoint 'runs/x'; there are none",
    ),
    "a metric that is not taken": (
        ("epochs = 3", "select = { scor = 1 }"),
        "stages.teacher.select.scor: is no metric of this stage; there are: faces/expr/score",
    ),
    "a metric that several feeds have": (
        (
            'validation = [{ dataset = "faces", task = "expr" }]',
            'validation = [{ dataset = ["faces"], task = "expr_va" }]\nselect = { score = 1 }',
        ),
        "defaults.select.score: is ambiguous; there are: faces/expr/score, faces/va/score",
    ),
}


@pytest.mark.parametrize("case", CROSS)
def test_check_between_tables(lines, case):
    change, message = CROSS[case]
    (line,) = lines(change=change)
    assert line.startswith(f"abaw.toml: {message}")


def test_checkpoint_that_is_there_can_teach_and_start(job, tmp_path):
    """Relative to the file; the resolved configuration holds the whole path."""
    (tmp_path / "old" / "best").mkdir(parents=True)
    student = JOB.replace('teacher = "teacher"', 'teacher = { va = "old/best" }\nstart_from = "old/best"')
    stage = job(student).config.stages[1]
    assert stage.teacher == {"va": str(tmp_path / "old/best")}
    assert stage.start_from == str(tmp_path / "old/best")


def test_plugins_author_is_told_of_a_type_that_cannot_be_read(kit, lines, loss_source):
    source = "from __future__ import annotations\n" + loss_source(
        "grid: Grid | None = None",
        before="if TYPE_CHECKING:\n    from grids import Grid",
    )
    kit.add("their-dist", {"theirs": source}, "0.3")
    (line,) = lines(change=('losses = ["focal"]', 'losses = ["mine"]'))
    assert line == (
        "abaw.toml: tasks.va.losses[0]: loss 'mine' cannot be used: their-dist:theirs 0.3 failed to load: "
        "mtl_losses(): Mine.grid: its type 'Grid | None' cannot be resolved (name 'Grid' is not defined); "
        "field types are read at run time: import them outside `if TYPE_CHECKING:`"
    )


class TestPython:
    @pytest.fixture
    def parts(self, kit):
        registry = Registry.load(entry_points=kit.entry_points())

        def make(kind, name, **fields):
            return registry.plugin(kind, name).recipe(**fields)

        return make

    @pytest.fixture
    def built(self, parts):
        return Config(
            name="built",
            tasks={"va": Task(head=parts("head", "binned"))},
            datasets={"faces": parts("dataset", "folder", path=Path("/faces"))},
            model=Model(backbone=parts("backbone", "net"), architecture=parts("architecture", "shared")),
            stages=(
                Stage(
                    name="only",
                    streams=(Stream(dataset="faces", task="va", sampler=parts("sampler", "shuffle")),),
                    balancer=parts("balancer", "sum"),
                ),
            ),
        )

    def test_configuration_is_the_one_that_the_file_would_give(self, kit, built):
        loaded = check_config(built, registry=Registry.load(entry_points=kit.entry_points()))
        again = config_from(plain(built), base=Path("/"), entry_points=kit.entry_points())
        assert loaded.config == again.config
        assert loaded.to_toml() == again.to_toml()
        assert [loss.name for loss in loaded.config.tasks["va"].losses] == ["plain"]

    def test_configuration_is_checked_like_a_file(self, built):
        stage = attrs.evolve(built.stages[0], select={"scor": 1.0}, start_from="nowhere")
        with pytest.raises(ConfigError) as error:
            check_config(attrs.evolve(built, stages=(stage,)), registry=Registry((), ()))
        assert list(error.value.problems) == [
            "config: stages.only.select.scor: is no metric of this stage; there are none",
            "config: stages.only.start_from: no earlier stage or checkpoint 'nowhere'; there are none",
        ]

    def test_values_out_of_range_are_refused_when_built(self):
        with pytest.raises(ValueError, match=r"must not name anything twice \(got \['a', 'a'\]\)"):
            Plugins(disable=("a", "a"))
