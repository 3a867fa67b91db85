"""Sessions for others: a page, a notebook, training data, trajectories."""
