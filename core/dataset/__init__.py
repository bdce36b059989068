"""Images and their captions: scanning, importing, editing with undo on disk."""
