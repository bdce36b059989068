"""The turn of a queued training has come: `python -P -m core.runs.freeze DIR` copies its inputs as they are now.

Until then its config may be edited. Exit status 1 with a sentence on stdout when it cannot be trained any more.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from core.files import read_json, write_atomic, write_json
from core.problems import UserError
from core.runs.model import RunSpec


def freeze(run_dir: Path) -> None:
    """Write inputs, argv and environment of the run anew from its recipe. Raises UserError."""
    from core.config.documents import open_config
    from core.config.preflight import refuses
    from core.runs.ready import check_start
    from core.runs.specs import from_recipe, settings_for
    from core.settings import load
    from core.workspace import Workspace

    spec = RunSpec.from_json(read_json(run_dir / "spec.json") or {})
    recipe = spec.recipe
    if recipe is None or spec.workspace is None:
        return
    workspace = Workspace(Path(spec.workspace))
    settings = settings_for(recipe, load(workspace.root, flags={"trainer": spec.trainer}))
    if not recipe.get("force") and not recipe.get("frozen"):
        problems = check_start(open_config(workspace, str(recipe["config"])), workspace, settings, queued=True)
        wrong = next((problem for problem in problems if refuses(problem)), None)
        if wrong is not None:
            raise UserError(
                f"Not started: {wrong.where}: {wrong.message}",
                f"Mend it, then queue it again: kohya-tui check --config {recipe['config']}",
            )
    made, files = from_recipe(workspace, recipe, settings, run_id=spec.id)
    for name, content in files.items():
        write_atomic(run_dir / name, content)
    made = replace(
        made, created=spec.created, recipe=recipe, wait=spec.wait, locks=spec.locks, group=spec.group, name=spec.name
    )
    write_json(run_dir / "spec.json", made.as_json())


def main(argv: list[str]) -> int:
    """Freeze the run in the folder `argv[0]`."""
    try:
        freeze(Path(argv[0]))
    except UserError as error:
        sys.stdout.write(". ".join(part.rstrip(".") for part in (error.message, error.hint) if part) + ".")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
