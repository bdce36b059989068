"""Every recorded end of the real trainer gets its cause, in a sentence with the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.runs.diagnose import diagnose, find_cause
from core.runs.model import RunKind, RunSpec, RunState
from core.runs.outcome import judge
from tests.core.runs_kit import RECORDINGS, write_safetensors

CAUSES = {
    "guide_as_written": "resolution",
    "sd15_bad_argument": "bad-option",
    "sd15_bad_precision": "precision",
    "sd15_cp1252": "encoding",
    "sd15_model_missing": "model-missing",
    "sd15_nan": "nan",
    "sd15_network_args_str": "network-args",
    "sd15_no_cache_no_bucket": "image-too-large",
    "sd15_no_data": "no-data",
    "sd15_oom": "out-of-memory",
    "sd15_persistent_workers0": "workers",
    "sd15_resume_finished": "resumed-finished",
    "sd15_sample_none": "sample-prompts",
    "sd15_killed": "killed",
    "sd15_accelerate_killed": "killed",
    "sd15_resume_first": "killed",
    **dict.fromkeys(
        [
            "sd15_sigint",
            "sd15_sigint_pty",
            "sd15_sigint_loading",
            "sd15_sigint_workers",
            "sd15_sigterm",
            "sd15_sigterm_workers",
            "sd15_accelerate_sigint",
            "sd15_accelerate_sigterm",
            "sd15_accelerate_sigint_group",
            "sd15_accelerate_sigterm_group",
        ],
        "signal",
    ),
}
"""All others ended well."""
NAMES = sorted(folder.name for folder in RECORDINGS.iterdir() if (folder / "output.bin").exists())


def output(name: str) -> str:
    return (RECORDINGS / name / "output.bin").read_bytes().decode("utf-8", "replace")


def returncode(name: str) -> int:
    code = json.loads((RECORDINGS / name / "meta.json").read_text())["returncode"]
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("name", NAMES)
def test_each_recording_has_its_cause(name: str) -> None:
    """The right cause for each failure, none for a training that went well, and never a line that cannot be shown."""
    cause = find_cause(output(name), returncode(name))
    assert (cause.kind if cause else None) == CAUSES.get(name)
    if cause is not None:
        assert str(cause).isprintable()
        assert str(cause).endswith((".", "?", ")"))


@pytest.mark.parametrize("name", NAMES)
def test_each_recording_gets_its_final_state(tmp_path: Path, name: str) -> None:
    """With the final file that the real trainer left: finished, or failed with the reason."""
    if "model saved." in output(name):
        write_safetensors(tmp_path / "out" / "my_lora.safetensors")
    (tmp_path / "output.log").write_bytes((RECORDINGS / name / "output.bin").read_bytes())
    spec = RunSpec("x", RunKind.TRAIN, "x", 0, (), str(tmp_path), output_dir="out", output_name="my_lora")
    state, reason = judge(tmp_path, spec.as_json(), started=0, returncode=returncode(name))
    assert state == (RunState.FAILED if name in CAUSES else RunState.FINISHED), reason
    assert (reason is None) == (state is RunState.FINISHED)


def test_out_of_memory_names_the_sizes() -> None:
    """How much was wanted and how much was free."""
    told = diagnose(output("sd15_oom"), 1) or ""
    assert "it wanted 2.00 GiB more, 1.31 GiB of 11.99 GiB were free" in told


def test_nan_names_its_first_step() -> None:
    """The step from which the checkpoints are useless."""
    assert "at step 2:" in (diagnose(output("sd15_nan"), 0) or "")


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        ("OSError: [Errno 28] No space left on device", 1, "disk is full"),
        ("safetensors_rust.SafetensorError: Error while serializing: IoError(Os { code: 28 })", 1, "disk is full"),
        ("ImportError: No xformers / xformersがインストールされていないようです", 1, "sdpa = true"),
        ("ModuleNotFoundError: No module named 'bitsandbytes'", 1, "No module named 'bitsandbytes'"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", 1, "illegal memory access"),
        (
            "voluptuous.error.MultipleInvalid: extra keys not allowed @ data['datasets'][0]['num_repeat']",
            1,
            "num_repeat",
        ),
        (
            "python3: can't open file '/sd/train_network.py': [Errno 2] No such file or directory",
            2,
            "did not find the script",
        ),
        ("RuntimeError: something new", 1, "failed with RuntimeError: something new"),
        ("UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0", 1, "not UTF-8"),
        ("", -11, "crashed"),
        ("", -15, "SIGTERM"),
    ],
)
def test_other_ends(log: str, code: int, words: str) -> None:
    """What the recordings lack."""
    assert words in (diagnose(f"a line\n{log}\n", code) or "")


def test_the_error_of_the_wrapper_is_not_the_cause() -> None:
    """accelerate's CalledProcessError comes last, and a bar is drawn after the exception."""
    log = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB.\n"
        "\rsteps:  12%|x| 7/60 [00:05<00:39,  1.34it/s, avr_loss=1.15]\n"
        "Traceback (most recent call last):\nsubprocess.CalledProcessError: Command returned non-zero exit status 1.\n"
    )
    cause = find_cause(log, 1)
    assert cause is not None
    assert cause.kind == "out-of-memory"


def test_an_unknown_error_names_its_place() -> None:
    """The innermost file of the traceback."""
    log = 'Traceback:\n  File "/sd/a.py", line 3, in f\n  File "/sd/b.py", line 7, in g\nKeyError: 5\n'
    assert "It arose in /sd/b.py, line 7." in (diagnose(log, 1) or "")


def test_the_kernels_oom_killer_is_told_from_other_kills() -> None:
    """The control group's counter went up while the run went."""
    assert "ran out of memory (RAM)" in (diagnose("", -9, oom_killed=True) or "")


def test_escapes_in_an_error_do_not_reach_the_screen() -> None:
    """A hostile file name in the exception's text."""
    told = diagnose("FileNotFoundError: [Errno 2] No such file or directory: '\x1b]0;evil\x07\u202ename'\n", 1) or ""
    assert told.isprintable()
