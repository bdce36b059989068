"""The Monitor screen."""

from __future__ import annotations

from tui.screens.base import ModeScreen


class MonitorScreen(ModeScreen):
    """Only the frame."""

    MODE = "monitor"
