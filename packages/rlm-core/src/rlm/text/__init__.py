"""Processing of text before a user or a model sees it."""
