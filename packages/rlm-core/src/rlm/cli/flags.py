"""The flags of each command. The parser of the command line and `--help` both use this table."""

from __future__ import annotations

from rlm.cli.command_spec import CommandSpec, Flag, command_flags

_AGENT = Flag("agent", "one agent and what is below it, as `1a2b` or `root/sub-…`", "ID", long="--agent")
_YES = Flag("yes", "do not ask", short="y", long="--yes")

RUN = CommandSpec(
    "a coding agent with one main tool: a persistent IPython kernel; without a task, at a terminal, a prompt",
    '[flags] ["task"]',
    (
        Flag("version", "print the version", long="--version"),
        Flag("acp", "the same as `rlm acp`", long="--acp"),
    ),
    most=1,
)
"""The command if the first word names none."""

COMMANDS = {
    "ls": CommandSpec("list the sessions, newest first", settings=("home", "json", "color")),
    "show": CommandSpec(
        "read a session or sub-agent as a tree: the newest session, or the one whose id begins so",
        "[ID]",
        (
            Flag("follow", "go on until the session ends", short="f", long="--follow"),
            Flag("whole", "outputs are not cut; in a pipe nothing is", long="--whole"),
            Flag("brief", "one line for each agent", long="--brief"),
            Flag("failed", "only what failed", long="--failed"),
            _AGENT,
        ),
        ("home", "color"),
        most=1,
        ids=True,
    ),
    "export": CommandSpec(
        "sessions as html, ipynb, chat or atif: the newest, or those whose ids are given (a glob is one, too)",
        "[ID …]",
        (
            Flag("format", "the form", "FORM", long="--format", choices=("html", "ipynb", "chat", "atif")),
            _AGENT,
            Flag(
                "arguments",
                "with --format chat: objects, as chat templates want them (the default), or text, as the API has them",
                "KIND",
                long="--arguments",
                choices=("mapping", "text"),
            ),
            Flag(
                "file",
                "write to this file; without it to stdout, and on a terminal to rlm-ID.html or the like",
                "FILE",
                short="o",
                long="--output",
            ),
            Flag("open", "open what was written, as a double click does", long="--open"),
        ),
        ("home",),
        most=10_000,
        ids=True,
    ),
    "resume": CommandSpec(
        "go on with a session: the newest, or the one whose id begins so",
        '[ID] ["more"]',
        (
            Flag("fork", "go on with a copy; the old session stays as it is", long="--fork"),
            Flag("replay", "run its cells again, and show where results differ", long="--replay"),
            Flag("rerun_agents", "run sub-agents again, also those that have a recorded result", long="--rerun-agents"),
            Flag("here", "work in this folder, where the session worked in another", long="--here"),
            Flag("trust", "go on with a session that you have not made here yourself", long="--trust"),
        ),
        most=2,
        ids=True,
    ),
    "batch": CommandSpec(
        "many tasks from a file, at once; DIR gets their results and sessions, and can be gone on with",
        "TASKS -o DIR | --resume DIR",
        (
            Flag("out", "the folder of the batch", "DIR", short="o", long="--output"),
            Flag("resume", "go on with a batch: what is missing and what failed with an error", "DIR", long="--resume"),
            Flag("trust", "with --resume: a batch that you have not made here yourself", long="--trust"),
            Flag("jobs", "tasks at once (default 16)", "N", short="j", long="--jobs"),
            Flag("rollouts", "how often each task is done (default 1)", "N", long="--rollouts"),
            Flag("limit", "only the first N tasks of the file", "N", long="--limit"),
            Flag("shard", "the k-th of n parts of the tasks, from 1/n to n/n", "K/N", long="--shard"),
            Flag(
                "retry_failed",
                "go on with DIR, and do again also what a limit stopped and what was not verified",
                long="--retry-failed",
            ),
            Flag(
                "map",
                "columns of a CSV or Parquet file: prompt=COLUMN; may be repeated",
                "PAIRS",
                long="--map",
                many=True,
            ),
            Flag("setup", "a command before each task that names none", "COMMAND", long="--setup"),
            Flag(
                "verify",
                "a command after each task that names none: its exit code is the reward",
                "COMMAND",
                long="--verify",
            ),
            Flag(
                "workdir_from",
                "each task works in a copy of this folder, a git worktree if it is a repository",
                "DIR",
                long="--workdir-from",
            ),
            Flag("discard_workdirs", "remove each copy after its task", long="--discard-workdirs"),
            Flag("atif", "a trajectory.json in each session", long="--atif"),
            Flag("executor", "where tasks are worked on", "WHERE", long="--executor", choices=("here", "ray")),
            Flag(
                "address",
                "with --executor ray: the cluster; without it one is started here",
                "ADDRESS",
                long="--address",
            ),
        ),
        (
            *("model", "subagent_model", "base_url", "api", "stream", "sdk_max_retries", "model_params"),
            *("max_turns", "max_depth", "exec_timeout", "timeout", "max_output", "max_turns_in_context"),
            *(
                "max_tokens",
                "max_total_tokens",
                "max_cost",
                "summarize_at_tokens",
                "max_agents",
                "max_concurrent_agents",
            ),
            *("append_to_system_prompt", "system_prompt_path", "tools", "images", "checkpoint", "context", "schema"),
            *("sandbox", "sandbox_net", "sandbox_memory", "sandbox_file_size", "keep_repositories"),
            *("no_cache_wait", "no_context_files", "json", "quiet", "verbose", "color", "limit_ok"),
        ),
        most=1,
    ),
    "eval": CommandSpec(
        "does recursion pay? the same tasks by a plain model call, an agent alone, and one with sub-agents",
        "TASKS.jsonl [-o DIR] | --resume DIR | --make FORM",
        (
            Flag("arms", "some of plain, single, rlm (default: all)", "ARMS", long="--arms"),
            Flag("jobs", "runs at once (default 4)", "N", short="j", long="--jobs"),
            Flag(
                "out",
                "a new folder for results and sessions (default: one in .rlm/evals)",
                "DIR",
                short="o",
                long="--output",
            ),
            Flag("resume", "go on with a comparison: what is missing and what failed", "DIR", long="--resume"),
            Flag(
                "make",
                "write synthetic tasks to stdout",
                "FORM",
                long="--make",
                choices=("needle", "aggregation", "pairs"),
            ),
            Flag("size", "with --make: lines of data, such as 1000,10000 (default 1000)", "SIZES", long="--size"),
            Flag("count", "with --make: tasks of each size (default 5)", "N", long="--count"),
            Flag("seed", "with --make: another one gives other tasks (default 0)", "N", long="--seed"),
        ),
        (
            *("home", "model", "subagent_model", "base_url", "api", "stream", "sdk_max_retries", "model_params"),
            *("max_turns", "max_depth", "exec_timeout", "timeout", "max_output", "max_turns_in_context"),
            *("max_tokens", "max_total_tokens", "max_cost", "summarize_at_tokens", "max_agents"),
            *("max_concurrent_agents", "append_to_system_prompt", "system_prompt_path", "tools", "images"),
            *("sandbox", "sandbox_net", "sandbox_memory", "sandbox_file_size", "keep_repositories"),
            *("no_cache_wait", "no_context_files", "no_final_answer", "json", "quiet"),
        ),
        most=1,
    ),
    "rm": CommandSpec(
        "remove sessions for good, with all that their runs have kept",
        "ID …",
        (_YES,),
        ("home",),
        most=10_000,
        ids=True,
    ),
    "prune": CommandSpec(
        "remove your sessions that have not been used for long; a running one stays",
        "--older-than AGE",
        (
            Flag("older_than", "such as 30d, 2w, 12h or 45m", "AGE", long="--older-than"),
            Flag("dry_run", "only say which they are", long="--dry-run"),
            _YES,
        ),
        ("home",),
    ),
    "stop": CommandSpec(
        "end a running session in order, as Ctrl-C does: the one that runs, or the one whose id begins so",
        "[ID]",
        settings=("home",),
        most=1,
        ids=True,
    ),
    "mcp": CommandSpec(
        "rlm as an MCP server on stdin and stdout (tools run, resume, show); `login NAME` logs in to one that rlm uses",
        "[login NAME]",
        most=2,
        words=("login",),
    ),
    "attach": CommandSpec(
        "a Jupyter console on the kernel of a running session: the one that runs, or the one whose id begins so",
        "[ID]",
        (Flag("yes", "also where the session is in a sandbox, which the console is not", long="--yes"),),
        ("home",),
        most=1,
        ids=True,
    ),
    "acp": CommandSpec(
        "an agent for editors and trainers: the Agent Client Protocol on stdin and stdout; also `rlm --acp`",
        flags=(Flag("doctor", "say what is wrong with this set-up, as `rlm doctor` does", long="--doctor"),),
    ),
    "skills": CommandSpec(
        "list the skills; `new NAME` makes one in a folder of its name, `check DIR …` says what is wrong with one",
        "[new NAME | check DIR …]",
        settings=("sandbox",),
        most=10_000,
        words=("new", "check"),
    ),
    "doctor": CommandSpec(
        "what is wrong with this set-up, and how to fix it",
        settings=(
            "json",
            "model",
            "base_url",
            "home",
            "mcp",
            "sandbox",
            "sandbox_net",
            "sandbox_memory",
            "sandbox_file_size",
        ),
    ),
    "demo": CommandSpec(
        "a recorded model fixes a real small repository: no key, no network",
        settings=(
            *("sandbox", "sandbox_net", "sandbox_memory", "sandbox_file_size", "keep_repositories"),
            *("max_turns", "exec_timeout", "timeout", "max_output", "checkpoint"),
            *("output", "json", "deltas", "quiet", "verbose", "color", "pictures", "plain", "limit_ok"),
        ),
    ),
    "completion": CommandSpec(
        "a script by which a shell completes commands, flags and session ids",
        "bash | zsh | fish",
        settings=("home",),
        most=1,
        words=("bash", "zsh", "fish"),
    ),
    "help": CommandSpec("what a command takes", "[COMMAND]", settings=(), most=1),
}
"""Commands by name. The first word must match exactly; any other word is a task."""


SPELLINGS = {
    spelling: each
    for command in (RUN, *COMMANDS.values())
    for each in command_flags(command)
    for spelling in each.spellings
}
"""Every flag of every command. The parser needs it to tell values from words before it knows the command."""
