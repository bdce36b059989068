"""The Dataset screen."""

from __future__ import annotations

from tui.screens.base import ModeScreen


class DatasetScreen(ModeScreen):
    """Only the frame."""

    MODE = "dataset"
