"""The flags of each command. The parser of the command line and `--help` both use this table."""

from __future__ import annotations

from rlm.cli.command_spec import CommandSpec, Flag, command_flags

_AGENT = Flag("agent", "one agent and its sub-agents, such as `1a2b` or `root/sub-…`", "ID", long="--agent")
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
        "read a session or sub-agent as a tree: the newest session, or the one whose id begins with ID",
        "[ID]",
        (
            Flag("follow", "follow the session until it ends", short="f", long="--follow"),
            Flag("whole", "do not shorten outputs; in a pipe nothing is shortened", long="--whole"),
            Flag("brief", "one line for each agent", long="--brief"),
            Flag("failed", "only what failed", long="--failed"),
            _AGENT,
        ),
        ("home", "color"),
        most=1,
        ids=True,
    ),
    "export": CommandSpec(
        "export sessions as html, ipynb, chat or atif: the newest, or those with the given ids (globs are allowed)",
        "[ID …]",
        (
            Flag("format", "the format", "FORMAT", long="--format", choices=("html", "ipynb", "chat", "atif")),
            _AGENT,
            Flag(
                "arguments",
                "with --format chat, arguments of calls: objects, for chat templates (mapping, the default), or text",
                "KIND",
                long="--arguments",
                choices=("mapping", "text"),
            ),
            Flag(
                "file",
                "write to this file; default: stdout, or on a terminal a file such as rlm-ID.html",
                "FILE",
                short="o",
                long="--output",
            ),
            Flag("open", "open the file in the default program", long="--open"),
        ),
        ("home",),
        most=10_000,
        ids=True,
    ),
    "resume": CommandSpec(
        "continue a session: the newest, or the one whose id begins with ID",
        '[ID] ["more"]',
        (
            Flag("fork", "continue a copy; the old session does not change", long="--fork"),
            Flag("replay", "run its cells again, and report different results", long="--replay"),
            Flag("rerun_agents", "run sub-agents again, also those that have a recorded result", long="--rerun-agents"),
            Flag("here", "work in this folder instead of the session's folder", long="--here"),
            Flag("trust", "continue a session that you did not create on this machine", long="--trust"),
        ),
        most=2,
        ids=True,
    ),
    "batch": CommandSpec(
        "run many tasks from a file at once; results and sessions go to DIR; --resume continues it",
        "TASKS -o DIR | --resume DIR",
        (
            Flag("out", "the folder of the batch", "DIR", short="o", long="--output"),
            Flag(
                "resume", "continue a batch: run tasks that are missing or failed with an error", "DIR", long="--resume"
            ),
            Flag("trust", "with --resume: a batch that you did not create on this machine", long="--trust"),
            Flag("jobs", "tasks at once (default 16)", "N", short="j", long="--jobs"),
            Flag("rollouts", "runs of each task (default 1)", "N", long="--rollouts"),
            Flag("limit", "only the first N tasks of the file", "N", long="--limit"),
            Flag("shard", "the k-th of n parts of the tasks, from 1/n to n/n", "K/N", long="--shard"),
            Flag(
                "retry_failed",
                "resume DIR; also repeat tasks that a limit stopped or whose reward is 0",
                long="--retry-failed",
            ),
            Flag(
                "map",
                "columns of a CSV or Parquet file: prompt=COLUMN; may be repeated",
                "PAIRS",
                long="--map",
                many=True,
            ),
            Flag("setup", "a command to run before each task that names none", "COMMAND", long="--setup"),
            Flag(
                "verify",
                "a command to run after each task that names none: exit code 0 is the reward 1, any other 0",
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
            Flag("atif", "write a trajectory.json in each session", long="--atif"),
            Flag("executor", "where tasks run", "WHERE", long="--executor", choices=("here", "ray")),
            Flag(
                "address",
                "with --executor ray: the cluster; default: rlm starts one on this machine",
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
        "measure whether recursion pays: the same tasks as a model call, an agent alone, and one with sub-agents",
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
            Flag("resume", "continue a comparison: run what is missing or failed", "DIR", long="--resume"),
            Flag(
                "make",
                "write synthetic tasks to stdout",
                "FORM",
                long="--make",
                choices=("needle", "aggregation", "pairs"),
            ),
            Flag("size", "with --make: lines of data, such as 1000,10000 (default 1000)", "SIZES", long="--size"),
            Flag("count", "with --make: tasks of each size (default 5)", "N", long="--count"),
            Flag("seed", "with --make: a different seed gives different tasks (default 0)", "N", long="--seed"),
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
        "remove sessions permanently, with all their data",
        "ID …",
        (_YES,),
        ("home",),
        most=10_000,
        ids=True,
    ),
    "prune": CommandSpec(
        "remove your sessions that were not used for the time AGE; running sessions stay",
        "--older-than AGE",
        (
            Flag("older_than", "such as 30d, 2w, 12h or 45m", "AGE", long="--older-than"),
            Flag("dry_run", "only list them", long="--dry-run"),
            _YES,
        ),
        ("home",),
    ),
    "stop": CommandSpec(
        "stop a running session, as Ctrl-C does: the only one, or the one whose id begins with ID",
        "[ID]",
        settings=("home",),
        most=1,
        ids=True,
    ),
    "mcp": CommandSpec(
        "an MCP server on stdin and stdout (tools run, resume, show); `login NAME` logs in to one that rlm uses",
        "[login NAME]",
        most=2,
        words=("login",),
    ),
    "attach": CommandSpec(
        "a Jupyter console on the kernel of a running session: the only one, or the one whose id begins with ID",
        "[ID]",
        (Flag("yes", "also for a session in a sandbox; the console is outside it", long="--yes"),),
        ("home",),
        most=1,
        ids=True,
    ),
    "acp": CommandSpec(
        "an agent for editors and trainers: the Agent Client Protocol on stdin and stdout; also `rlm --acp`",
        flags=(Flag("doctor", "check this set-up, as `rlm doctor` does", long="--doctor"),),
    ),
    "skills": CommandSpec(
        "list the skills; `new NAME` creates one in a new folder NAME, `check DIR …` reports what is wrong with one",
        "[new NAME | check DIR …]",
        settings=("sandbox",),
        most=10_000,
        words=("new", "check"),
    ),
    "doctor": CommandSpec(
        "check this set-up, and show how to fix it",
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
        "a script that lets a shell complete commands, flags and session ids",
        "bash | zsh | fish",
        settings=("home",),
        most=1,
        words=("bash", "zsh", "fish"),
    ),
    "help": CommandSpec("show the help of a command", "[COMMAND]", settings=(), most=1),
}
"""Commands by name. The first word must match exactly; any other word is a task."""


SPELLINGS = {
    spelling: each
    for command in (RUN, *COMMANDS.values())
    for each in command_flags(command)
    for spelling in each.spellings
}
"""Every flag of every command. The parser needs it to tell values from words before it knows the command."""
