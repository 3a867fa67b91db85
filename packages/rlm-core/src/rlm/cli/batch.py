"""`rlm batch TASKS -o DIR`, `rlm batch --resume DIR`: many tasks."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from contextlib import ExitStack, aclosing
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec

from rlm.batches.batch import Batch, new_config
from rlm.batches.config import CONCURRENCY, effects
from rlm.batches.executors import check_executor, executor_for
from rlm.batches.folder import BatchFolder, create, exists
from rlm.batches.progress import BatchProgress
from rlm.batches.tasks import check_tasks, read_tasks, select_tasks
from rlm.cli import Interrupted
from rlm.cli.arguments import CommandLine, whole_number
from rlm.cli.own_process import ending_orphans, harden_process, working_directory
from rlm.cli.signals import closing_in_order, run_until_signal
from rlm.cli.streams import frame_allowed, put_json, say, say_effects, stderr, stderr_is_terminal
from rlm.config.environment import broker_address, without_effect
from rlm.config.settings import Config
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.host.resumed_settings import GivenSettings, resumed_config
from rlm.present import humanize
from rlm.present.live.writer import Writer
from rlm.process import files
from rlm.process.limits import check_limits

_SHARD = re.compile(r"(\d+)/(\d+)")
_USAGE = "Name a file of tasks and a folder for the results: rlm batch TASKS.jsonl -o DIR; or: rlm batch --resume DIR."


def run(line: CommandLine) -> int:
    """
    Raises:
        RlmError: no task can be worked on.
    """
    if broker_address() is not None:
        raise ConfigError("`rlm batch` is for a shell. In a cell use rlm.map.")
    with ExitStack() as opened:
        folder, config = _prepare(line, opened)
        harden_process(debug=config.debug)
        with closing_in_order(), ExitStack() as stack:
            check_limits()
            stack.enter_context(ending_orphans())
            return _BatchCommand(line, folder, config, stack).run()


def _prepare(line: CommandLine, opened: ExitStack) -> tuple[BatchFolder, Config]:
    """Return the folder of the batch, and the settings of this run.

    Raises:
        ConfigError: an argument is not allowed. Nothing has been created then.
    """
    wanted, options = GivenSettings(line.settings), line.options
    resumed = options.get("resume")
    again = "retry_failed" in options and resumed is None and exists(Path(options.get("out", "")).expanduser())
    if resumed is None and not again:
        path, config = _new(line)
        return opened.enter_context(BatchFolder(path)), config
    if resumed is not None and (line.all_words or "out" in options):
        raise ConfigError("--resume DIR accepts no other argument: the folder contains the tasks.")
    fixed = _FIXED & options.keys()
    if fixed and not again:
        raise ConfigError(f"--{min(fixed).replace('_', '-')} cannot change when a batch is resumed.")
    path = files.resolve(Path(resumed or options["out"]).expanduser())
    folder = opened.enter_context(BatchFolder(path, trust="trust" in options))
    config = resumed_config(folder.config.settings, wanted)
    if folder.doubt:
        why = f"on this machine: {folder.doubt}. Because of --trust, this will run:"
        say_effects(f"rlm: You did not create the batch in {path} {why}", effects(folder.config, folder.tasks, config))
        folder.adopt()
    return folder, config


_FIXED = {"rollouts", "limit", "shard", "map", "workdir_from", "setup", "verify", "atif"}
"""Options that are fixed when a batch is created; `--resume` cannot change them."""


def _new(line: CommandLine) -> tuple[Path, Config]:
    options = line.options
    if len(line.all_words) != 1 or "out" not in options:
        raise ConfigError(_USAGE)
    tasks, out = Path(line.all_words[0]).expanduser(), files.resolve(Path(options["out"]).expanduser())
    if exists(out):
        raise ConfigError(f"{out} contains a batch. To continue it: rlm batch --resume {shlex.quote(options['out'])}")
    config, cwd = read_config(line.settings), working_directory()
    check_executor(options.get("executor", "here"), options.get("address", ""))
    source = _source(options)
    found = read_tasks(tasks, _columns(options.get("map", "")))
    checked = check_tasks(found, config, tasks.name, source or cwd, copied=source is not None)
    shard = _shard(options.get("shard", "1/1"))
    chosen = select_tasks(checked, _number(options, "limit"), shard)
    if not chosen:
        raise ConfigError(f"--shard {options['shard']} has no task: there are {len(checked)}.")
    batch = new_config(
        config,
        cwd,
        str(tasks),
        rollouts=_number(options, "rollouts") or 1,
        concurrency=_number(options, "jobs") or CONCURRENCY,
        limit=_number(options, "limit"),
        shard=options.get("shard"),
        workdir_from=str(source) if source else None,
        discard_workdirs="discard_workdirs" in options,
        setup=options.get("setup"),
        verify=options.get("verify"),
        atif="atif" in options,
        executor=options.get("executor", "here"),
    )
    create(out, batch, chosen)
    return out, config


class _BatchCommand:
    """One run of a batch, as the command line shows it."""

    def __init__(self, line: CommandLine, folder: BatchFolder, config: Config, stack: ExitStack) -> None:
        self._options = line.options
        self._folder = folder
        self._config = config
        terminal = stderr_is_terminal()
        live = terminal and not config.quiet and frame_allowed(config)
        colored = config.color.colors(terminal=terminal)
        self._writer = stack.enter_context(Writer(stderr() or StringIO(), color=colored, live=live))
        self._progress = BatchProgress(self._writer, live=live, quiet=config.quiet, verbose=config.verbose)
        retry = "retry_failed" in line.options
        self._batch = Batch(folder, config, retry_failed=retry)

    def run(self) -> int:
        """
        Raises:
            RlmError: no task can be worked on; finished tasks are kept.
        """
        for line in without_effect():
            self._progress.note(line)
        try:
            run_until_signal(self._work())
        except Interrupted as interrupted:
            self._end()
            say(f"rlm: interrupted. To continue: {self._resume()}")
            return interrupted.code
        except BaseException:
            self._end()
            say(f"rlm: finished runs are kept. To continue: {self._resume()}")
            raise
        return self._end()

    async def _work(self) -> None:
        options, batch = self._options, self._folder.config
        concurrency = _number(options, "jobs") or batch.concurrency
        wanted = options.get("executor", batch.executor)
        executor = executor_for(wanted, self._batch.settings(), concurrency, options.get("address", ""))
        async with self._progress.ticking(), aclosing(self._batch.run(executor, self._progress)) as results:
            async for result in results:
                if self._config.json:
                    put_json(json.dumps(msgspec.to_builtins(result), ensure_ascii=False))

    def _end(self) -> int:
        """Print the outcome. Return 0 if all tasks are done."""
        counts = self._batch.summary
        self._writer.__exit__(None, None, None)
        if not counts:
            return exit_codes.FAILED
        if not self._config.quiet:
            say(_totals(counts, self._folder.path))
        failed = counts["error"] + counts["missing"] + (0 if self._config.limit_ok else counts["limit"])
        return exit_codes.FAILED if failed else exit_codes.DONE

    def _resume(self) -> str:
        return f"rlm batch --resume {shlex.quote(str(self._folder.path))}"


def _totals(counts: Mapping[str, Any], path: Path) -> str:
    parts = [f"{counts['done']:,} of {counts['rollouts'] + counts['missing']:,} done"]
    for name, said in (("limit", "stopped by a limit"), ("error", "failed"), ("missing", "missing")):
        if counts[name]:
            parts.append(f"{counts[name]:,} {said}")
    if counts["reward"]:
        parts.append(", ".join(f"pass@{k} {value:.3g}" for k, value in counts["pass_at_k"].items()))
    cost, duration = counts["cost"], counts["duration"]
    if cost:
        parts.append(f"${cost['total']:,.2f}")
    if duration:
        parts.append("time p50 {p50}, p95 {p95}".format(**{k: humanize.seconds(v) for k, v in duration.items()}))
    return f"{' · '.join(parts)} · {path}"


# ---- values of flags


def _number(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    return None if text is None else whole_number(name, text)


def _shard(text: str) -> tuple[int, int]:
    found = _SHARD.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(f"--shard={text!r} is not allowed: it takes k/n, such as 1/8 to 8/8.")
    return int(found[1]), int(found[2])


def _columns(text: str) -> dict[str, str]:
    columns = {}
    for pair in filter(None, text.split(",")):
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise ConfigError(f"--map={pair!r} is not allowed: it takes FIELD=COLUMN, such as prompt=question.")
        columns[field] = column
    return columns


def _source(options: Mapping[str, str]) -> Path | None:
    text = options.get("workdir_from")
    if text is None:
        return None
    path = Path(text).expanduser()
    if not path.is_dir():
        raise ConfigError(f"--workdir-from={text!r} is not allowed: it takes a folder that exists.")
    return files.resolve(path)
