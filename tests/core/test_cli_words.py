"""The words of the command line: help, wrong usage, exit status, encodings, completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli.main import ORDER
from core.cli.output import cells_of, clipped, table
from core.workspace import Workspace
from tests.core.cli_kit import COMMAND, Cli, program


def test_help_lists_every_command_in_the_documented_order(bare: Cli) -> None:
    """demo first, gpu last; nothing is missing and nothing is there twice."""
    lines = bare("--help").lines
    shown = [line.split()[0] for line in lines if line.startswith("  ") and line[2].isalpha()]
    assert shown[: len(ORDER)] == list(ORDER)


def test_the_list_of_commands_is_a_page_with_a_line_for_each(bare: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 80 columns nothing is folded, and no version of typer adds to it."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = bare("--help").lines
    last = next(number for number, line in enumerate(lines) if line == "Options")
    assert last <= len(ORDER) + 16
    assert all(re.match(r"(  [a-z]+ +\S|\S|$)", line) for line in lines[:last])


def test_the_usage_names_the_words_and_their_panels(bare: Cli) -> None:
    """What is needed bare, what may be left out in brackets, flags without a type; the options in their groups."""
    lines = bare("import", "--help").lines
    assert lines[0] == "kohya-tui import NAME SOURCES… [OPTION]…"
    assert "  --link             Hard links instead of copies." in lines
    assert bare("status", "--help").lines[0] == "kohya-tui status [RUN] [OPTION]…"
    assert {"Words", "Options", "Queue", "Cluster (Slurm)"} <= set(bare("train", "--help").lines)


def test_a_command_without_a_folder_prints_the_help_and_the_program_its_name(bare: Cli) -> None:
    """The usage line says kohya-tui however it was started."""
    assert bare("-h").lines[0] == "kohya-tui [-C FOLDER] [COMMAND] …"
    assert bare("--version").out.startswith("kohya-tui ")


@pytest.mark.parametrize("command", [name for name in ORDER if name not in {"tag", "models", "config"}])
def test_every_command_explains_itself(bare: Cli, command: str) -> None:
    """`kohya-tui COMMAND --help` begins with what it does."""
    answer = bare(command, "--help")
    assert answer.out.startswith(f"kohya-tui {command} ")


def test_the_help_of_tag_names_every_option(bare: Cli) -> None:
    """All of sd-scripts' options and ours."""
    text = bare("tag", "--help").out
    for option in ("--repo_id", "--undesired_tags", "--onnx", "--policy", "--sd-compat", "--detach", "--json"):
        assert option in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["foo"], "No such command 'foo'."),
        (["runs", "--foo"], "No such option: --foo"),
        (["fix", "all"], "ALL is no code of a problem"),
        (["import"], "Missing argument"),
        (["import", "a", "b", "--copy", "--move"], "choose one of --copy, --link and --move"),
        (["import", "a", "b", "--repeats", "0"], "--repeats"),
        (["tag"], "Which images shall be tagged?"),
        (["tag", "mika", "--thesh", "3"], "There is no option --thesh"),
        (["tag", "mika", "--thresh", "much"], "--thresh"),
        (["config", "set", "rinni", "loud"], "'loud' is not KEY=VALUE"),
        (["stop", "--now", "--after-checkpoint"], "choose --now or --after-checkpoint"),
        (["setup", "comfyui"], "setup does not know 'comfyui'"),
        (["train", "rinni", "--launcher", "rocket"], "'rocket' is no launcher"),
        (["trigger", "rinni", " , "], "The trigger word is empty"),
        (["train", "x", "--follow", "--json"], "choose --follow or --json"),
        (["train", "x", "--launcher", "rocket"], "'rocket' is no launcher"),
        (["log", "-n", "many"], "'-n'"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(bare: Cli, words: list[str], sentence: str) -> None:
    """Exit status 2, nothing on stdout."""
    answer = bare(*words, code=2)
    first, *rest = answer.err.splitlines()
    assert first.startswith("kohya-tui: ") and sentence in first
    assert len(rest) == 1 and rest[0].startswith("  ")
    assert answer.out == ""


def test_the_programs_exit_status_and_streams(demo: Workspace) -> None:
    """A process: 0 with only JSON on stdout and nothing on stderr, 1 for an error, 2 for wrong usage."""
    fine = program("-C", demo.root, "tag", "mika", "--json", cwd=demo.root.parent)
    assert json.loads(fine.out)["tagged"] == 12
    assert fine.err == ""
    missing = program("status", "nope", cwd=demo.root, code=1)
    assert missing.out == "" and missing.err.startswith("kohya-tui: ")
    assert program("status", "--loud", cwd=demo.root, code=2).out == ""


def test_without_a_command_and_a_terminal_the_app_stays_closed(tmp_path: Path) -> None:
    """A pipe gets a sentence, not control sequences."""
    answer = program(cwd=tmp_path, code=1)
    assert answer.out == ""
    assert "needs a terminal" in answer.err and "--help" in answer.err


def test_completion_knows_the_commands(bare: Cli, tmp_path: Path) -> None:
    """The shell asks without any word but in the environment; the app does not open."""
    assert "--install-completion" in bare("--help").out
    answer = program(
        cwd=tmp_path, _KOHYA_TUI_COMPLETE="complete_bash", COMP_WORDS="kohya-tui check", COMP_CWORD="1", TERM="dumb"
    )
    assert answer.out.split() == ["check", "checkpoints"]


def test_a_reader_that_goes_away_is_no_error(demo: Workspace) -> None:
    """`kohya-tui help | head -1` prints one line and no traceback."""
    with subprocess.Popen(
        [*COMMAND, "config", "show", "rinni"], cwd=demo.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_told(demo: Workspace) -> None:
    """`kohya-tui runs --json > file` on a full disk fails with a sentence."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "history"], cwd=demo.root, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == "kohya-tui: Cannot write the result: No space left on device"
    assert second == "  Look at where the output goes."


def test_closed_and_narrow_outputs_and_a_deleted_folder_are_no_bugs(demo: Workspace, tmp_path: Path) -> None:
    """`help` in an old locale or on a full disk, `>&-`, and a shell whose folder is gone."""
    assert "\\u23ce" in program("help", "keys", cwd=demo.root, PYTHONIOENCODING="ascii", PYTHONUTF8="0").out
    (tmp_path / "gone").mkdir()
    for words, said in (
        ("help keys >/dev/full", "Cannot write the result"),
        ("--version >/dev/full", "Cannot write the result"),
        ("runs >&-", ""),
        ("gpu 2>&-", ""),
        (f"runs --json; cd {tmp_path}/gone; rmdir {tmp_path}/gone; $program gpu", "The current folder was deleted"),
    ):
        line = f"program='{' '.join(COMMAND)}'; $program {words}"
        done = subprocess.run(["sh", "-c", line], cwd=demo.root, capture_output=True, text=True, check=False)
        assert said in done.stderr
        assert "inside" not in done.stderr


def test_an_old_locale_gets_escapes_and_valid_json(demo: Workspace) -> None:
    """A terminal without UTF-8 shows `\\u2713` for a tick; JSON stays JSON."""
    old = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    assert "\\u2713 Python" in program("doctor", cwd=demo.root, code=None, **old).out
    program("config", "set", "rinni", "training_comment=日本", cwd=demo.root)
    answer = program("config", "show", "rinni", "training_comment", "--json", cwd=demo.root, **old)
    assert answer.json["value"] == "日本"


def test_a_file_name_that_is_no_text_survives_json(cli: Cli, demo: Workspace) -> None:
    """Old archives hold names in Shift-JIS; json reads back the very bytes."""
    source = demo.root.parent / "source"
    source.mkdir()
    name = os.fsdecode(b"\x83\x8a\x83\x93.png")
    (source / name).write_text("not a picture")
    answer = program("import", "new", source, "--json", cwd=demo.root, code=1)
    (skip,) = answer.json["skipped"]
    assert os.fsencode(skip["path"]).endswith(b"\x83\x8a\x83\x93.png")
    assert "source" in cli("import", "new", source, code=1).out


def test_tables_align_wide_characters_and_fold_on_narrow_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Japanese names take two cells; on a narrow terminal the last column stands below."""
    rows = [("name", "n", "about"), ("リンニ", "10", "x"), ("rinni", "5", "a long description")]
    lines = table(rows, frozenset({1}))
    assert lines == ["name     n  about", "リンニ  10  x", "rinni    5  a long description"]
    assert cells_of("リンニ") == 6 and clipped("リンニ", 5) == "リン"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    folded = ["name     n", "リンニ  10", "    x", "rinni    5", "    a long", "    description"]
    assert table(rows, frozenset({1})) == folded
    assert table(rows, frozenset({1}), (1,), 2) == ["name    about", "リンニ  x", "rinni   a long desc…"]
