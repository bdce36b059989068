"""The Tag screen."""

from __future__ import annotations

from tui.screens.base import ModeScreen


class TagScreen(ModeScreen):
    """Only the frame."""

    MODE = "tag"
