"""A group of changes done with a bar; Ctrl-C takes back what was done so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from core.cli.main import Interrupted
from core.cli.output import Bar, say

if TYPE_CHECKING:
    from core.dataset.edits import Stepwise

Result = TypeVar("Result")


def stepped(label: str, steps: Stepwise[Result]) -> Result:
    """What `steps` returns. An interrupt goes on to the caller when all files are as they were, and is told."""
    bar = Bar(label)
    try:
        while True:
            step = next(steps)
            bar.update(step.done, step.total)
    except StopIteration as end:
        result: Result = end.value
        return result
    except (KeyboardInterrupt, Interrupted):
        bar.close()
        steps.close()  # when the signal came between two steps
        say("stopped; the files are as they were")
        raise
    finally:
        bar.close()
