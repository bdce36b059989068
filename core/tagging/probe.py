"""Where a model would run, found out by running one: the demo's small tagger, in a child process.

`python -P -m core.tagging.probe PROVIDER` prints one JSON object. A child, because ONNX Runtime with its GPU libraries
takes seconds to load and hundreds of megabytes that are never given back.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from core.problems import UserError

SECONDS = 120
"""TensorRT builds an engine first."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`device` is what a model really runs on, as people call it (`CUDA`, `CPU`); `fallback` says why it is not what
    was asked for, with the remedy.
    """

    device: str
    is_gpu: bool
    fallback: str | None


def probe(provider: str) -> Probe:
    """Run a model on `provider` (a word of `--provider`). Raises UserError with the remedy when none can be run."""
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-m", "core.tagging.probe", provider],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"A trial of {provider} did not end within {SECONDS} s", "Try: kohya-tui doctor") from error
    for line in reversed(child.stdout.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if "error" in found:
            raise UserError(found["error"], found["hint"])
        return Probe(found["device"], found["is_gpu"], found["fallback"])
    last = (child.stderr.strip().splitlines() or [f"it ended with {child.returncode}"])[-1]
    raise UserError(f"A trial of {provider} failed: {last}", "Try: kohya-tui doctor")


def main(provider: str) -> int:
    """The child."""
    from core.settings import Settings
    from core.tagging.models import DEMO, find_model
    from core.tagging.session import open_session

    try:
        session = open_session(find_model(DEMO, None, Settings()), provider)
    except UserError as error:
        print(json.dumps({"error": error.message, "hint": error.hint}))
        return 1
    print(json.dumps({"device": session.device_name, "is_gpu": session.is_gpu, "fallback": session.fallback}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
