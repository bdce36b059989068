"""The terminal screens of kohya-tui."""
