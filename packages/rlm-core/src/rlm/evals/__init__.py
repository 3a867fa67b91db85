"""Does recursion pay? The same tasks by a plain model call, by an agent alone and by one with sub-agents."""
