"""The interactive prompt: a notebook that a person and the agent share.

A front end on one `Run`, opened once and asked many times. `inputs` says what a line at the prompt means, `screen` what
is printed of what happens, `prompt` owns the terminal, and `session` puts them together.
"""
