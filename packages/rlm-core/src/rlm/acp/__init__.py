"""The Agent Client Protocol, version 1, on stdio: rlm as the agent of an editor or of a trainer.

`server` answers the requests, `session` is one conversation. What is sent is made by pure functions: `updates` (records
as they come), `history` (records that lie there), `options`; `prompt` reads what the user sends. `rlm.acp.router` and
`rlm.acp.connection` alone import the package `agent-client-protocol`, whose types take a second to import.
"""
