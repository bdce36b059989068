"""The config files that sd-scripts reads: documents, presets, guides, plans and checks."""
