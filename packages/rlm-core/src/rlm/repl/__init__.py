"""The interactive prompt: a notebook that the user and the agent share.

A front end on one `Run`, opened once and asked many times. `inputs` decides what a line at the prompt means, `screen`
prints the events, `prompt` owns the terminal, and `session` connects them.
"""
