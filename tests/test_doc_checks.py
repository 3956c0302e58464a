"""The checks of the documentation's blocks find what they are there for."""

from __future__ import annotations

import pytest

from tests.doc_commands import command_lines, problem_of
from tests.doc_pages import blocks_of
from tests.doc_toml import problems_of


def problems(tables, tmp_path, page=""):
    return "; ".join(problems_of(tables, tmp_path, page))


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"epochs": 3, "epoch": 3}, "stages.stage.epoch: unknown key; did you mean 'epochs'?"),
        ({"epochs": "3"}, "stages.stage.epochs: must be a whole number (got '3')"),
        ({"trainer": {"precision": "bf8"}}, "trainer.precision: must be 'fp32' or 'bf16' or 'fp16'"),
        ({"temporal": "gruu"}, "unknown temporal 'gruu'; did you mean 'gru'?"),
        ({"streams": [{"dataset": "x", "task": "exprs"}]}, "unknown task 'exprs'; did you mean 'expr'?"),
        ({"select": {"ccx_valence": 1}}, "is no metric of this stage; did you mean 'some/va/ccc_valence'?"),
        ({"datasets": {"x": {"type": "image-csv"}}}, "datasets.x.csv: is missing"),
        ({"project": {"entry-points": {"mtl": {"x": "x"}}}}, "project.entry-points.mtl: must be mtl_toolkit"),
        ({"project": {"nam": "x"}}, "project.nam: no key of a project"),
    ],
)
def test_what_is_wrong_in_a_part_of_a_configuration_is_found(tables, problem, tmp_path):
    assert problem in problems(tables, tmp_path)


def test_a_block_that_is_no_part_of_a_configuration_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither a configuration nor keys of a stage: margin"):
        problems({"margin": 1}, tmp_path)


@pytest.mark.parametrize(
    "tables",
    [
        {"features": "made", "temporal": "gru", "streams": [{"dataset": "x", "task": "va"}]},
        {"stages": [{"name": "a", "start_from": "runs/other/a"}]},
        {"plugins": {"disable": ["mtl-distill:distillation"]}},
        {"defaults": {"streams": [{"dataset": ["x", "y"], "task": "both"}]}},
    ],
)
def test_what_a_part_refers_to_need_not_be_in_it(tables, tmp_path):
    assert problems(tables, tmp_path) == ""


def test_a_plugin_that_the_page_defines_may_be_named(tmp_path):
    tables = {"tasks": {"dots": {"head": "count"}}}
    assert "unknown head 'count'" in problems(tables, tmp_path)
    assert problems(tables, tmp_path, '    name: ClassVar[str] = "count"\n') == ""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("mtl rum x.toml", "no command 'rum' of main"),
        ("mtl run x.toml --ouput runs/x", "--ouput"),
        ("mtl run", "Missing argument 'CONFIG'"),
        ("mtl predict runs/x a.mp4", "Missing option '-o' / '--output'"),
        ("mtl predict runs/x a.mp4 -o a.csv --detector cascade", "unknown detector 'cascade'"),
        ("mtl predict runs/x a.mp4 -o a.csv --postprocess 'va={type=\"mean\", windw=5}'", "windw"),
        ("mtl plugins head/valence", "unknown head 'valence'"),
        ("mtl run examples/abaw.toml --set stages.teacher.epochs=3", "teacher"),
        ("torchrun --nproc_per_nod 2 -m mtl_toolkit run x.toml", "torchrun: --nproc_per_nod 2"),
        ("torchrun --nproc-per-node 2 -m mtl_toolkit rum x.toml", "no command 'rum'"),
        ("pip instal x", "has not the form"),
        ("curl x", "unknown command 'curl'"),
    ],
)
def test_what_is_wrong_in_a_command_line_is_found(line, problem):
    assert problem in (problem_of(line) or "")


def test_command_lines_are_joined_and_split_as_a_shell_does():
    text = "mtl check \\\n  x.toml && mtl run x.toml  # both\nA=1 mtl plugins | mtl plugins\n"
    lines = list(command_lines(text))
    assert lines == ["mtl check x.toml", "mtl run x.toml  # both", "A=1 mtl plugins", "mtl plugins"]
    assert [problem_of(line) for line in lines] == [None] * 4
    assert list(command_lines("$ mtl run x\noutput\n", prompt="$ ")) == ["mtl run x"]


def test_blocks_are_found_with_their_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.doc_pages.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("a\n```sh\nmtl\n```\n````text\n```\n````\n```\n```\n")
    found = [(str(block), block.language, block.text) for block in blocks_of(page)]
    assert found == [("page.md:2", "sh", "mtl\n"), ("page.md:5", "text", "```\n"), ("page.md:8", "", "")]
    page.write_text("```sh\nmtl\n")
    with pytest.raises(ValueError, match=r"page\.md:1: the block is not closed"):
        list(blocks_of(page))
