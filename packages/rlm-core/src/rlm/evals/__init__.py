"""`rlm eval` measures whether recursion pays.

It runs the same tasks as a plain model call, by an agent alone, and by an agent with sub-agents.
"""
