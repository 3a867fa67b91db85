"""The Agent Client Protocol, version 1, on stdio: rlm as the agent of an editor or of a trainer.

`server` handles the requests, `session` is one conversation. Pure functions create the messages: `updates` (from live
and stored records, in the form of `content`), `options`; `prompt` reads the user's messages. Only `rlm.acp.router` and
`rlm.acp.connection` import the package `agent-client-protocol`, whose types take a second to import.
"""
