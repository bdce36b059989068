"""No network: it makes none."""
