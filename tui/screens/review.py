"""The Review screen."""

from __future__ import annotations

from tui.screens.base import ModeScreen


class ReviewScreen(ModeScreen):
    """Only the frame."""

    MODE = "review"
