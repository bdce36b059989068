"""What a new user meets before any file of their own: drawn pictures, a small tagger and a small trainer."""
