"""`rlm eval TASKS.jsonl`: does recursion pay on these tasks? `rlm eval --make FORM`: tasks of any size."""

from __future__ import annotations

import json
from contextlib import aclosing
from pathlib import Path
from typing import get_args

import msgspec

from rlm.cli.arguments import CommandLine
from rlm.cli.own_process import close_to_others, ending_orphans
from rlm.cli.signals import Interrupted, closing_in_order, run_until_signal
from rlm.cli.streams import put, put_json, say
from rlm.config.environment import broker_address
from rlm.config.settings import Config
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError
from rlm.evals.compare import ARMS, Arm, Comparison, EvalResult
from rlm.evals.forms import generate
from rlm.evals.report import summary, table
from rlm.evals.tasks import read_tasks
from rlm.process import files
from rlm.process.limits import check_limits
from rlm.text.clip import one_line

_USAGE = (
    "Name a file of tasks: rlm eval TASKS.jsonl; or make one: rlm eval --make needle --size 1000,10000 > TASKS.jsonl"
)
_JOBS, _COUNT = 4, 5


def run(line: CommandLine) -> int:
    """
    Raises:
        RlmError: nothing can be compared.
    """
    if broker_address() is not None:
        raise ConfigError("`rlm eval` is for a shell, and not for the cells of an agent.")
    options = line.options
    if "make" in options:
        return _make(line)
    if len(line.all_words) != 1:
        raise ConfigError(_USAGE)
    config, path = read_config(line.settings), Path(line.all_words[0]).expanduser()
    arms, jobs = _arms(options.get("arms")), _number(options.get("jobs"), "jobs", _JOBS)
    compared = Comparison(config, read_tasks(files.read(files.resolve(path)), path.name), arms, jobs)
    close_to_others(debug=config.debug)
    with closing_in_order(), ending_orphans():
        check_limits()
        return _EvalCommand(compared, options.get("results")).run()


def _make(line: CommandLine) -> int:
    options = line.options
    if line.all_words or "results" in options or "arms" in options:
        raise ConfigError(f"--make writes tasks to stdout and compares nothing. {_USAGE}")
    sizes = [_number(size, "size") for size in options.get("size", "1000").split(",")]
    tasks = generate(options["make"], sizes, _number(options.get("count"), "count", _COUNT), _seed(options.get("seed")))
    for task in tasks:
        put_json(json.dumps(msgspec.to_builtins(task), ensure_ascii=False))
    return exit_codes.DONE


class _EvalCommand:
    """One comparison, as the command line shows it."""

    def __init__(self, compared: Comparison, results: str | None) -> None:
        self._compared = compared
        self._config: Config = compared.config
        self._path = None if results is None else files.resolve(Path(results).expanduser().parent) / Path(results).name
        self._results: list[EvalResult] = []

    def run(self) -> int:
        code = exit_codes.DONE
        try:
            run_until_signal(self._work())
        except Interrupted as interrupted:
            code = interrupted.code
        finally:
            self._keep()
        self._end()
        failed = bool(self._results) and all(each.stop == "error" for each in self._results)
        return exit_codes.FAILED if failed and not code else code

    async def _work(self) -> None:
        whole = len(self._compared.tasks) * len(self._compared.arms)
        async with aclosing(self._compared.run()) as results:
            async for result in results:
                self._results.append(result)
                if self._config.json:
                    put_json(json.dumps({"type": "result", **msgspec.to_builtins(result)}, ensure_ascii=False))
                if not self._config.quiet:
                    error = f"  {one_line(result.error, 100)}" if result.error else ""
                    said = (
                        f"{result.id}  {result.arm}  {result.score:.2f}  {result.stop}  {result.seconds:.1f} s{error}"
                    )
                    say(f"{len(self._results)} of {whole}  {said}")

    def _keep(self) -> None:
        if self._path is not None:
            lines = [json.dumps(msgspec.to_builtins(each), ensure_ascii=False) + "\n" for each in self._results]
            files.replace(self._path, "".join(lines).encode())

    def _end(self) -> None:
        if not self._results:
            return
        made = summary(self._results, self._compared.arms)
        if self._config.json:
            put_json(json.dumps({"type": "summary", **made}, ensure_ascii=False))
        else:
            put("\n".join(table(made)))


def _arms(text: str | None) -> list[Arm]:
    known = get_args(Arm)
    chosen = list(dict.fromkeys(each.strip() for each in text.split(","))) if text else list(known)
    if wrong := [each for each in chosen if each not in known]:
        there = "; ".join(f"{name}: {meaning}" for name, meaning in ARMS.items())
        raise ConfigError(f"--arms={wrong[0]!r} is not allowed. There are {there}.")
    return [arm for arm in known if arm in chosen]


def _number(text: str | None, name: str, default: int = 1) -> int:
    if text is None:
        return default
    if not (text.strip().isascii() and text.strip().isdecimal() and int(text) > 0):
        raise ConfigError(f"--{name}={text!r} is not allowed: it takes a whole number, at least 1.")
    return int(text)


def _seed(text: str | None) -> int:
    try:
        return int(text or "0")
    except ValueError:
        raise ConfigError(f"--seed={text!r} is not allowed: it takes a whole number.") from None
