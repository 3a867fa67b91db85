"""`rlm eval TASKS.jsonl`: measure whether recursion pays on these tasks.

`rlm eval --make FORM`: create tasks of any size.
"""

from __future__ import annotations

import json
import os
import shlex
from contextlib import aclosing
from pathlib import Path
from secrets import token_hex
from typing import get_args

import msgspec

from rlm.batches.batch import Batch, new_config
from rlm.batches.executors import HereExecutor
from rlm.batches.folder import BatchFolder, create, exists
from rlm.batches.results import TaskResult
from rlm.batches.tasks import Job, check_tasks
from rlm.cli import Interrupted
from rlm.cli.arguments import CommandLine, whole_number
from rlm.cli.own_process import ending_orphans, harden_process, working_directory
from rlm.cli.signals import closing_in_order, run_until_signal
from rlm.cli.streams import put, put_json, say
from rlm.config.environment import broker_address
from rlm.config.settings import Config
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.evals.compare import (
    ARMS,
    EXPECTED,
    Arm,
    EvalResult,
    Judge,
    ScoringExecutor,
    arms_of,
    runs_of,
    without_contexts,
)
from rlm.evals.forms import generate
from rlm.evals.report import summary, table
from rlm.evals.tasks import read_tasks
from rlm.host.resumed_settings import GivenSettings, resumed_config
from rlm.process import files
from rlm.process.limits import check_limits
from rlm.sessions.folder import open_sessions
from rlm.text.clip import one_line

_USAGE = (
    "Name a file of tasks: rlm eval TASKS.jsonl; or create one: rlm eval --make needle --size 1000,10000 > TASKS.jsonl"
)
_JOBS, _COUNT = 4, 5


def run(line: CommandLine) -> int:
    """
    Raises:
        RlmError: no task can be compared.
    """
    if broker_address() is not None:
        raise ConfigError("`rlm eval` works in a shell, not in the cells of an agent.")
    if "make" in line.options:
        return _make(line)
    path, config = (_resumed(line), None) if "resume" in line.options else _new(line)
    with BatchFolder(path) as folder:
        config = config or resumed_config(folder.config.settings, GivenSettings(line.settings))
        command = _EvalCommand(folder, config, _jobs(line, folder.config.concurrency))
        harden_process(debug=config.debug)
        with closing_in_order(), ending_orphans():
            check_limits()
            return command.run()


def _new(line: CommandLine) -> tuple[Path, Config]:
    """Create the folder; return it and the settings of this run.

    Raises:
        ConfigError: an argument is not allowed. Nothing has been created then.
    """
    options = line.options
    if len(line.all_words) != 1:
        raise ConfigError(_USAGE)
    config, tasks, cwd = read_config(line.settings), Path(line.all_words[0]).expanduser(), working_directory()
    arms, jobs = _arms(options.get("arms")), _jobs(line)
    out = files.resolve(Path(options["out"]).expanduser()) if "out" in options else None
    if out is not None and exists(out):
        raise ConfigError(f"{out} contains results. To continue: rlm eval --resume {shlex.quote(options['out'])}")
    found = read_tasks(files.read(files.resolve(tasks)), tasks.name)
    runs = runs_of(found, arms, max(1, config.max_depth))
    check_tasks(((f"task {run.id}", run) for run in runs), config, tasks.name, cwd, copied=False)
    out = out or _own_folder(config, tasks, cwd)
    beside = {EXPECTED: without_contexts(found)}
    create(out, new_config(config, cwd, str(tasks), concurrency=jobs), runs, beside)
    return out, config


def _own_folder(config: Config, tasks: Path, cwd: Path) -> Path:
    home = files.resolve(config.home)
    os.close(open_sessions(home, cwd))  # creates the folder with what keeps all of it out of version control
    return home / "evals" / f"{tasks.stem}-{token_hex(4)}"


def _resumed(line: CommandLine) -> Path:
    options = line.options
    if line.all_words or options.keys() & {"out", "arms"}:
        raise ConfigError("--resume DIR accepts no other argument: the folder contains the tasks and arms.")
    return files.resolve(Path(options["resume"]).expanduser())


def _make(line: CommandLine) -> int:
    options = line.options
    if line.all_words or options.keys() & {"out", "resume", "arms"}:
        raise ConfigError(f"--make writes tasks to stdout and compares nothing. {_USAGE}")
    sizes = [_number(size, "size") for size in options.get("size", "1000").split(",")]
    tasks = generate(options["make"], sizes, _number(options.get("count"), "count", _COUNT), _seed(options.get("seed")))
    for task in tasks:
        put_json(json.dumps(msgspec.to_builtins(task), ensure_ascii=False))
    return exit_codes.DONE


class _EvalCommand:
    """One run of a comparison, as the command line shows it. It watches the batch."""

    def __init__(self, folder: BatchFolder, config: Config, jobs: int) -> None:
        self._path = folder.path
        self._config = config
        self._jobs = jobs
        self._judge = Judge.of_folder(folder.path)
        self._arms = arms_of(folder.tasks)
        self._batch = Batch(folder, config)
        self._results: list[EvalResult] = []
        self._expected = 0

    def run(self) -> int:
        """
        Raises:
            RlmError: no task can be worked on; finished tasks are kept.
        """
        code = exit_codes.DONE
        try:
            run_until_signal(self._work())
        except Interrupted as interrupted:
            code = interrupted.code
            say(f"rlm: interrupted. To continue: {self._resume()}")
        except BaseException:
            say(f"rlm: finished runs are kept. To continue: {self._resume()}")
            raise
        self._end()
        failed = bool(self._results) and all(each.stop == "error" for each in self._results)
        return exit_codes.FAILED if failed and not code else code

    async def _work(self) -> None:
        executor = ScoringExecutor(HereExecutor(self._batch.settings(), self._jobs), self._judge)
        async with aclosing(self._batch.run(executor, self)) as results:
            async for result in results:
                self._show(self._judge.judge(result))

    def begin(self, kept: list[TaskResult], expected: int) -> None:
        self._expected = expected
        self._results += map(self._judge.judge, kept)
        if kept and not self._config.quiet:
            say(f"{len(kept)} of {expected} are done.")

    def started(self, job: Job) -> None: ...

    def ended(self, result: TaskResult) -> None: ...

    def _show(self, result: EvalResult) -> None:
        self._results.append(result)
        if self._config.json:
            put_json(json.dumps({"type": "result", **msgspec.to_builtins(result)}, ensure_ascii=False))
        if not self._config.quiet:
            error = f"  {one_line(result.error, 100)}" if result.error else ""
            said = f"{result.id}  {result.arm}  {result.score:.2f}  {result.stop}  {result.seconds:.1f} s{error}"
            say(f"{len(self._results)} of {self._expected}  {said}")

    def _end(self) -> None:
        if not self._results:
            return
        totals = summary(self._results, self._arms)
        if self._config.json:
            put_json(json.dumps({"type": "summary", **totals}, ensure_ascii=False))
        else:
            put("\n".join(table(totals)))
        if not self._config.quiet:
            say(f"Results and sessions: {self._path}")

    def _resume(self) -> str:
        return f"rlm eval --resume {shlex.quote(str(self._path))}"


def _jobs(line: CommandLine, default: int = _JOBS) -> int:
    return _number(line.options.get("jobs"), "jobs", default)


def _arms(text: str | None) -> list[Arm]:
    known = get_args(Arm)
    chosen = list(dict.fromkeys(each.strip() for each in text.split(","))) if text else list(known)
    if wrong := [each for each in chosen if each not in known]:
        there = "; ".join(f"{name}: {meaning}" for name, meaning in ARMS.items())
        raise ConfigError(f"--arms={wrong[0]!r} is not allowed. There are {there}.")
    return [arm for arm in known if arm in chosen]


def _number(text: str | None, name: str, default: int = 1) -> int:
    return default if text is None else whole_number(name, text)


def _seed(text: str | None) -> int:
    try:
        return int(text or "0")
    except ValueError:
        raise ConfigError(f"--seed={text!r} is not allowed: it takes a whole number.") from None
