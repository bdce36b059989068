"""Tag runs as tests start them: the job as a process of its own, and what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.tagging.command import parse_command
from core.workspace import Workspace
from tests.core.cli_kit import until

GOLDENS = Path(__file__).parent.parent / "data" / "goldens"
GOOD, BAD = GOLDENS / "images" / "good", GOLDENS / "images" / "bad"
MODEL = ["--model_dir", str(GOLDENS / "model"), "--repo_id", "SmilingWolf/tiny-dyn"]
SOME = ("rgb_square.jpg", "small_64.png", "all_black.png", "exact_448.png", "cmyk.jpg", "exif_orient3.jpg")


def golden(case: str) -> dict[str, Any]:
    return json.loads((GOLDENS / "cases" / f"{case}.json").read_text("utf-8"))


def tags_of(caption: str) -> list[str]:
    """The tags of a golden caption; two of the tiny model's names have a comma in them."""
    joined = caption.strip().replace("comma, tag", "comma,_tag")
    return joined.replace("(comma, series)", "(comma,_series)").split(", ")


def start(workspace: Workspace | None, run_dir: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    run_dir.mkdir(parents=True, exist_ok=True)
    spec = {"tag": parse_command(words).run_spec(workspace)}
    (run_dir / "spec.json").write_text(json.dumps(spec), "utf-8")
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "core.tagging.job", str(run_dir)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )


def tag(workspace: Workspace | None, run_dir: Path, *words: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Exit status, log and results of a whole run."""
    job = start(workspace, run_dir, *words)
    log, _ = job.communicate(timeout=120)
    return job.returncode, log, results(run_dir)


def results(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of results.jsonl: one head (the last one written), the images, the end."""
    path = run_dir / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    heads = [line for line in lines if "v" in line]
    return heads[-1:] + [line for line in lines if "v" not in line and "pace" not in line]


def images(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of images that are tagged."""
    return [line for line in results(run_dir) if "tags" in line]


def kill_after(count: int, job: subprocess.Popen[str], run_dir: Path, signal: Callable[[], None] | None = None) -> str:
    """Send a job SIGKILL (or what `signal` does) once it has tagged `count` images; returns its log."""
    until(lambda: len(images(run_dir)) >= count or job.poll() is not None)
    assert job.poll() is None, job.communicate()[0]
    (signal or job.kill)()
    return job.communicate(timeout=30)[0]
