"""The Config screen."""

from __future__ import annotations

from tui.screens.base import ModeScreen


class ConfigScreen(ModeScreen):
    """Only the frame."""

    MODE = "config"
