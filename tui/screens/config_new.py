"""A new config: the base model, what for, the optimizer and the memory, with what each sets and why, live beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.binding import Binding
from textual.message import Message
from textual.widget import Widget

from core.config.compose import choose, compose, differences
from core.config.pieces import TIERS, families, optimizers, purposes
from core.problems import UserError
from core.text import printable
from tui.screens.config_parts import wrapped
from tui.screens.dialogs import Dialog
from tui.theme import Cells, fit
from tui.widgets.form import choice_step
from tui.widgets.item_list import ItemList, Texts
from tui.widgets.line import Lines, cut

if TYPE_CHECKING:
    from core.config.environment import Environment
    from core.config.pieces import Optimizer, Value
    from core.config.presets import Preset
    from core.settings import Settings

ROWS = ("family", "purpose", "optimizer", "vram")
_LABELS = {"family": "Base model", "purpose": "For", "optimizer": "Optimizer", "vram": "GPU memory"}
_OWN = "yours: "


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was chosen. Optimizer and memory are None for a preset of the user's, which has its own."""

    preset: str
    optimizer: str | None = None
    vram: int | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the dialog begins with: the family of the workspace's base model, the tier of its GPU, the user's presets.

    `found` is family → the base model of that kind in `models/`.
    """

    family: str | None = None
    tier: int | None = None
    gpu: str | None = None
    found: dict[str, str] | None = None
    own: tuple[Preset, ...] = ()


class NewConfig(Dialog[Wanted]):
    """Four choices by arrow keys; below them every value that is not the trainer's default, with its reason."""

    BINDINGS: ClassVar = [
        Binding("left,h", "step(-1)", "the one before", show=False, id="list.left"),
        Binding("right,l", "step(1)", "the next one", show=False, id="list.right"),
    ]

    class Answered(Message):
        """The trainer's Python said what can be imported in it."""

        def __init__(self, environment: Environment) -> None:
            super().__init__()
            self.environment = environment

    def __init__(self, around: Surroundings) -> None:
        super().__init__("New config", "← → change   ↑ ↓ which   tab the values   ⏎ make it   Esc back")
        self._around = around
        family = around.family or next(iter(around.found or {}), next(iter(families())))
        self._now = {"family": family, "purpose": "character"} | self._usual(family)
        self._values: dict[tuple[str, str], Any] = {}
        self._missing: dict[str, str] = {}
        """Optimizer → why it could not start here."""
        self._environment: Environment | None = None
        """The trainer's Python as it answered; None until then."""

    def _usual(self, name: str) -> dict[str, str]:
        family = families()[name]
        return {"optimizer": family.optimizer, "vram": str(self._around.tier or family.vram)}

    def compose_dialog(self) -> Iterable[Widget]:
        pieces = ItemList(id="pieces", on="surface")
        pieces.styles.height = len(ROWS)
        yield pieces
        told = Lines(on="surface", id="told")
        told.styles.height = 2
        yield told
        values = ItemList(id="values", on="surface", empty="Nothing but the trainer's own defaults.")
        yield values
        about = Lines(on="surface", id="about")
        about.styles.height = 2
        about.styles.margin = (1, 0, 0, 0)
        yield about

    def on_mount(self) -> None:
        size = self.app.size
        self.query_one("#dialog").styles.width = min(104, size.width if self.has_class("-narrow") else size.width - 4)
        self.query_one("#values", ItemList).styles.height = max(3, min(28, self.room - 9))
        self.query_one("#pieces", ItemList).focus()
        self.call_after_refresh(self._show)
        self._look_for_packages()

    @work(exit_on_error=False)
    async def _look_for_packages(self) -> None:
        """Which optimizers could not start here: looked for on disk at once, then asked of the trainer's Python."""
        settings = self.app.settings
        if settings.trainer == "demo":
            return
        self._missing = await asyncio.to_thread(lacking, settings, None)
        self._show_pieces()
        # No thread of the app's pool: that one is waited for when the app ends, and a Python may take 90 s to answer.
        threading.Thread(target=self._ask, args=(settings,), name="probe", daemon=True).start()

    def _ask(self, settings: Settings) -> None:
        from core.runs.probe import probe

        modules = {module for each in optimizers().values() if (module := _module(each)) is not None}
        self.post_message(self.Answered(probe(settings, modules)))

    def on_new_config_answered(self, event: Answered) -> None:
        if event.environment.problem is None:
            self._environment = event.environment
            self._missing = lacking(self.app.settings, event.environment)
            self._show_pieces()
            self._explain()

    # What is chosen

    @property
    def own(self) -> Preset | None:
        """The user's preset that is chosen in place of a model."""
        name = self._now["family"].removeprefix(_OWN)
        is_own = self._now["family"].startswith(_OWN)
        return next((each for each in self._around.own if each.name == name), None) if is_own else None

    def action_step(self, by: int) -> None:
        row = ROWS[max(0, self.query_one("#pieces", ItemList).cursor)]
        if self.own is not None and row != "family":
            return
        choices = {
            "family": [*families(), *(f"{_OWN}{each.name}" for each in self._around.own)],
            "purpose": list(purposes()),
            "optimizer": list(optimizers()),
            "vram": [str(tier) for tier in TIERS],
        }[row]
        self._now[row] = choice_step(choices, self._now[row], by)
        if row == "family" and self.own is None:
            kept = self._now["optimizer"], self._now["vram"]
            self._now |= self._usual(self._now["family"])
            if self._around.tier is not None:
                self._now["vram"] = kept[1]
        self._show()

    @on(ItemList.Opened)
    def _taken(self) -> None:
        own = self.own
        if own is not None:
            self.dismiss(Wanted(own.name))
        else:
            name = f"{self._now['family']}-{self._now['purpose']}"
            self.dismiss(Wanted(name, self._now["optimizer"], int(self._now["vram"])))

    # What is seen

    def _show(self) -> None:
        self._show_pieces()
        rows = self._differences()
        fresh = {(file, key): value.value for file, key, value in rows}
        before, self._values = self._values, fresh
        changed = [bool(before) and before.get((file, key)) != value.value for file, key, value in rows]
        values = self.query_one("#values", ItemList)
        room = min(max((len(key) for _, key, _ in rows), default=0), 32 if values.size.width >= 88 else 22)
        lines = [self._line(*row, room, values.size.width, is_new) for row, is_new in zip(rows, changed, strict=True)]
        values.set_rows(Texts(lines), changed.index(True) if any(changed) else 0)
        gone = [key for (_, key) in before if key not in {each for _, each in fresh}]
        self._tell(sum(changed), gone)
        self._explain()

    def _show_pieces(self) -> None:
        pieces = self.query_one("#pieces", ItemList)
        pieces.set_rows(Texts([self._piece(row, pieces.size.width) for row in ROWS]), max(0, pieces.cursor))

    def _differences(self) -> list[tuple[str, str, Value]]:
        own = self.own
        if own is None:
            now = self._now
            return differences(compose(choose(now["family"], now["purpose"], now["optimizer"], int(now["vram"]))))
        from core.config.own_presets import load_preset

        try:
            return differences(load_preset(own.name))
        except UserError:
            return []

    def _piece(self, row: str, width: int) -> Cells:
        own = self.own
        label: Cells = [(f" {_LABELS[row]:<12}", "muted")]
        if own is not None and row != "family":
            return [*label, ("as in your preset", "muted")]
        if row == "family":
            named = own.name if own is not None else families()[self._now["family"]].title
            there = (self._around.found or {}).get(self._now["family"])
            beside = "yours" if own is not None else there or "not in models/ yet"
            return cut([*label, (f"‹ {printable(named)} ›", "text bold"), (f"  {printable(beside)}", "muted")], width)
        value = self._now[row]
        if row == "vram":
            said = self._around.gpu or "" if value == str(self._around.tier) or self._around.tier is None else ""
            return cut([*label, (f"‹ {value} GB ›", "text bold"), (f"  {printable(said)}", "muted")], width)
        if row == "optimizer" and value in self._missing:
            return cut([*label, (f"‹ {value} ›", "text bold"), (f"  {self._missing[value]}", "caution")], width)
        said = purposes()[value].about if row == "purpose" else optimizers()[value].about
        return cut([*label, (f"‹ {value} ›", "text bold"), (f"  {said}", "muted")], width)

    def _line(self, file: str, key: str, value: Value, room: int, width: int, is_new: bool) -> Cells:
        from tui.screens.config_form import display

        shown = display(value.value)
        shown = shown if len(shown) <= 24 else shown[:23] + "…"
        mark: Cells = [
            ("•" if is_new else " ", "accent"),
            (f"{fit(key, room, middle=True)}  ", "text"),
            (f"{shown:<13} ", "second"),
        ]
        return cut([*mark, (f" {value.why}", "muted")], width)

    def _tell(self, changed: int, gone: list[str]) -> None:
        count = len(self._values)
        said = f"{count} values differ from the trainer's defaults"
        news = [f"• {changed} changed"] if changed else []
        width = self.query_one("#told", Lines).size.width or 70
        if gone:
            news.append(f"without {gone[0]}" if len(gone) == 1 and width >= 88 else f"{len(gone)} left out")
        rule: Cells = [("─" * width, "rule")]
        second: Cells = cut([(f" {said}", "muted"), (f"   {', '.join(news)}" if news else "", "accent")], width)
        self.query_one("#told", Lines).show([rule, second])

    def on_descendant_focus(self) -> None:
        self._explain()

    @on(ItemList.Moved)
    def _explain(self) -> None:
        """The whole reason of the value under the cursor, or what the chosen piece is."""
        about = self.query_one("#about", Lines)
        values = self.query_one("#values", ItemList)
        if values.has_focus:
            rows = self._differences()
            at = values.cursor
            file, key, value = rows[at] if 0 <= at < len(rows) else ("", "", None)
            text = f"{key} ({file}.toml): {value.why or 'as every preset has it'}" if value is not None else ""
        else:
            text = self._said()
        about.show(wrapped([[(f" {printable(text)}", "muted")]], about.size.width or 70)[:2])

    def _needs(self, chosen: Optimizer) -> str:
        module = _module(chosen)
        if module is None:
            return ""
        if chosen.name in self._missing:
            return f"{self._missing[chosen.name]}."
        answer = self._environment.packages.get(module) if self._environment is not None else None
        there = f": {printable(answer.version or '')} is there" if answer is not None and answer.works else ""
        return f"Needs the package {chosen.package or module} in the trainer's Python{there}."

    def _said(self) -> str:
        own = self.own
        if own is not None:
            return own.description
        row = ROWS[max(0, self.query_one("#pieces", ItemList).cursor)]
        family = families()[self._now["family"]]
        if row == "family":
            return f"{family.script}; after sd-scripts' {', '.join(family.docs)}. {' '.join(family.left_out)}"
        if row == "purpose":
            return purposes()[self._now["purpose"]].about
        if row == "optimizer":
            chosen = optimizers()[self._now["optimizer"]]
            return f"{chosen.about} {self._needs(chosen)}"
        tier = family.tiers[int(self._now["vram"])]
        return " ".join(dict.fromkeys(f"{value.why[:1].upper()}{value.why[1:]}." for value in tier.values()))


def lacking(settings: Settings, environment: Environment | None) -> dict[str, str]:
    """Optimizer → why it could not start: by what the trainer's Python answered, else by what lies on its disk."""
    from core.config.check_machine import check_packages
    from core.problems import Severity

    found: dict[str, str] = {}
    for each in optimizers().values():
        module, problems = _module(each), check_packages(_train(each), settings, environment)
        if module is None or all(one.severity is not Severity.ERROR for one in problems):
            continue
        answer = environment.packages.get(module) if environment is not None else None
        found[each.name] = f"not in the trainer's Python: pip install {each.package}"
        if answer is not None and answer.error is not None:
            found[each.name] = f"the trainer's Python cannot import {module}: {printable(answer.error)}"
    return found


def _module(optimizer: Optimizer) -> str | None:
    """What sd-scripts imports for it, beside torch."""
    from core.config.check_machine import needed_packages

    return next((module for _, module, _ in needed_packages(_train(optimizer))), None)


def _train(optimizer: Optimizer) -> dict[str, Any]:
    return {"optimizer_type": optimizer.train["optimizer_type"].value}
