"""Writes sessions of unusual size at once: `python -m bench.big_sessions KIND HOME SIZE`.

They contain the records that docs/sessions.md specifies, so any reader of sessions can be tested with them.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

Record = dict[str, Any]

START = 1_760_000_000.0
USAGE = {"prompt_tokens": 2_000, "completion_tokens": 40, "cached_tokens": 1_500, "reasoning_tokens": 0}
TOOL = {"type": "function", "function": {"name": "ipython", "parameters": {"type": "object", "properties": {}}}}


class Journal:
    """Writes the journal of one agent, a turn every second."""

    def __init__(self, folder: Path, task: str, depth: int = 0) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._task, self._depth = task, depth
        self._file = (folder / "messages.jsonl").open("w")
        self._next = self._turns = 0
        self._agents = 1
        self.write("message", message={"role": "system", "content": "You are rlm."})
        self.write("message", message={"role": "user", "content": task})
        self.write("request", model="big", tools=[TOOL], params={})

    def write(self, type: str, **body: Any) -> None:
        record = {"type": type, "id": self._next, "ts": START + self._turns + self._next / 1e6} | body
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._next += 1

    def ask(self, text: str | None, *codes: str) -> list[str]:
        """Write a reply with a call for each code; return the calls' ids."""
        self._turns += 1
        ids = [f"call_{self._next}_{place}" for place in range(len(codes))]
        calls = [
            {"id": id, "type": "function", "function": {"name": "ipython", "arguments": json.dumps({"code": code})}}
            for id, code in zip(ids, codes, strict=True)
        ]
        message = {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})
        finish = "tool_calls" if calls else "stop"
        self.write("message", message=message, usage=USAGE, finish_reason=finish, duration=0.5)
        return ids

    def answer(self, id: str, content: str) -> None:
        message = {"role": "tool", "tool_call_id": id, "content": content}
        self.write("message", message=message, tool="ipython", ok=True, duration=0.1)

    def turn(self, text: str | None, code: str, content: str) -> None:
        (id,) = self.ask(text, code)
        self.answer(id, content)

    def show(self, picture: bytes) -> None:
        """Write a picture that the model is shown."""
        url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        part = {"type": "image_url", "image_url": {"url": url}}
        self.write("message", message={"role": "user", "content": [part]}, kind="note")

    def child(self, number: int) -> Journal:
        """Write the start of a sub-agent."""
        name = f"sub-{number:08x}"
        self.write("agent_start", folder=name, prompt=f"part {number}")
        self._agents += 1
        return Journal(self.folder / name, f"part {number}", self._depth + 1)

    def end(self, answer: str = "done") -> None:
        self.ask(answer)
        self.write("result", status="done", stop_reason="done", answer=answer, turns=self._turns, usage=USAGE)
        self._file.close()
        (self.folder / "meta.json").write_text(json.dumps(self._meta(answer)))

    def _meta(self, answer: str) -> Record:
        return {
            "format": 1,
            "session_id": self.folder.name.removeprefix("sub-"),
            "parent": self.folder.parent.name.removeprefix("sub-") if self._depth else None,
            "depth": self._depth,
            "model": "big",
            "cwd": str(self.folder),
            "version": "0.1.0",
            "status": "done",
            "stop_reason": "done",
            "start_time": START,
            "updated_time": START + self._turns,
            "end_time": START + self._turns,
            "prompt_preview": self._task,
            "answer_preview": answer[:200],
            "turns": self._turns,
            "usage": USAGE,
            "tree_usage": USAGE,
            "metrics": {"turns": self._turns, "agents": self._agents, "depth": self._depth, "duration": self._turns},
        }


def turns(root: Journal, size: int) -> None:
    """`size` turns with a small cell each."""
    for number in range(size):
        root.turn(f"Step {number}.", f"x = {number}\nprint(x)", f"{number}\n")


def megabytes(root: Journal, size: int) -> None:
    """`size` MB of journal, in outputs of 20 kB."""
    output = "".join(f"{number:08}  some measured value {number / 7:.6f}\n" for number in range(500))
    for number in range(size * 50):
        root.turn("The next file.", f"print(open('part{number}').read())", output[:20_000])


def children(root: Journal, size: int) -> None:
    """`size` sub-agents of one cell; each runs one cell."""
    (id,) = root.ask("Divide it.", f"await asyncio.gather(*(rlm.run(f'part {{n}}') for n in range({size})))")
    for number in range(size):
        child = root.child(number)
        child.turn(None, "1 + 1", "2")
        child.end(f"part {number} is fine")
        root.write("agent_end", folder=child.folder.name, stop="done", turns=2, usage=USAGE)
    root.answer(id, "[...]")


def deep(root: Journal, size: int) -> None:
    """A chain of `size` sub-agents; each is called by the previous one."""
    chain = [root]
    for number in range(size):
        chain[-1].ask("One deeper.", "await rlm.run('deeper')")
        chain.append(chain[-1].child(number))
    for agent in reversed(chain[1:]):
        agent.end()


def output(root: Journal, size: int) -> None:
    """One output of `size` MB in a single line."""
    root.turn("All of it.", "print(everything)", "all of it · " + "x" * (size * 1_000_000))


def pictures(root: Journal, size: int) -> None:
    """`size` pictures of 1 MB, saved and shown."""
    (root.folder / "outputs").mkdir()
    for number in range(size):
        picture = Random(number).randbytes(1_000_000)
        (root.folder / "outputs" / f"{number}.png").write_bytes(picture)
        root.turn(None, "plt.plot(x)", f"[picture: {root.folder}/outputs/{number}.png]")
        root.show(picture)


def calls(root: Journal, size: int) -> None:
    """One reply that asks for `size` cells."""
    for number, id in enumerate(root.ask("All at once.", *(f"print({number})" for number in range(size)))):
        root.answer(id, f"{number}\n")


KINDS: dict[str, Callable[[Journal, int], None]] = {
    each.__name__: each for each in (turns, megabytes, children, deep, output, pictures, calls)
}


def write(kind: str, home: Path, size: int) -> Path:
    """Write a session of this type into `home`, and return its folder."""
    root = Journal(home / "sessions" / f"{len(list(home.glob('sessions/*'))):012x}", f"a session: {size} {kind}")
    KINDS[kind](root, size)
    root.end()
    return root.folder


def write_many(home: Path, size: int) -> None:
    """`size` sessions of one turn."""
    for number in range(size):
        root = Journal(home / "sessions" / f"{number:012x}", f"the task number {number} of many that are much alike")
        root.end()


def _lines() -> Iterator[str]:
    yield "sessions: " + (write_many.__doc__ or "")
    yield from (f"{name}: {make.__doc__}" for name, make in KINDS.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.big_sessions",
        description=__doc__,
        epilog="\n".join(_lines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=[*KINDS, "sessions"])
    parser.add_argument("home", type=Path, help="a folder for RLM_HOME; made if it is missing")
    parser.add_argument("size", type=int)
    options = parser.parse_args()
    if options.kind == "sessions":
        write_many(options.home, options.size)
    else:
        print(write(options.kind, options.home, options.size))


if __name__ == "__main__":
    main()
