"""The work of kohya-tui, without a screen: datasets, tagging, configs and runs."""
