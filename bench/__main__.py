"""`python -m bench`: run scenarios, print a table."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import batches, caching, machine, prompt, sessions, shared_data, table, trees, turns, waiting
from bench.harness import Bench, RunFailedError
from bench.measures import Results, Scenario, perform


def main() -> None:
    options = _arguments()
    every = (
        *prompt.scenarios(),
        *turns.scenarios(),
        *trees.scenarios(options.quick),
        *waiting.scenarios(options.quick),
        *caching.scenarios(),
        *shared_data.scenarios(options.quick),
        *sessions.scenarios(options.quick),
        *batches.scenarios(options.quick),
    )
    known = {scenario.name: scenario for scenario in every}
    if options.list:
        print("\n".join(known))
        return
    if unknown := [name for name in options.scenario if name not in known]:
        sys.exit(f"bench: there is no scenario {unknown[0]!r}. There are: {', '.join(known)}")
    chosen = [known[name] for name in options.scenario or known]
    before, began = machine.state(), time.monotonic()
    results = _run(chosen, options.rlm, options.quick, options.rounds)
    print(f"{machine.header(before)} → {machine.load()} · {time.monotonic() - began:.0f} s\n")
    print(table.markdown(results))
    if options.json is not None:
        options.json.write_text(json.dumps(table.as_json(results, before), indent=1) + "\n")


def _run(chosen: Sequence[Scenario], rlm: Path, quick: bool, rounds: int | None) -> list[Results]:
    with Bench(rlm) as bench:
        try:
            bench.run_rlm("--help")  # so that no measured run must compile our modules or read them from disk
        except RunFailedError as error:
            sys.exit(f"bench: {error}")
        return [perform(scenario, bench, rounds or (scenario.quick if quick else scenario.full)) for scenario in chosen]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help="which to run; none: all")
    parser.add_argument("--list", action="store_true", help="say which there are")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute where all is well")
    parser.add_argument("--rounds", type=int, help="how often, instead of what each scenario says")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values")
    beside = Path(sys.executable).parent / "rlm"
    parser.add_argument("--rlm", type=Path, default=beside, metavar="PATH", help="the command to measure")
    return parser.parse_args()


if __name__ == "__main__":
    main()
