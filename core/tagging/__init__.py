"""WD14-format tagging: from an image file to a caption."""
