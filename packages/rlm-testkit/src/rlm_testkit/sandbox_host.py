"""Opens sandboxes until it is killed: `python sandbox_host.py FOLDER`. It prints a line just before the first one."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import closing
from pathlib import Path

from rlm.process.supervisor import ProcessGroups, Supervisor
from rlm.sandbox import Sandbox, open_policy


async def main(folder: Path) -> None:
    work, runtime = folder / "work", folder / "run"
    with (
        Supervisor() as supervisor,
        closing(ProcessGroups(supervisor)) as groups,
        open_policy(
            work, work / ".rlm", runtime, dict(os.environ), groups, net=False, memory=10**9, file_size=10**9
        ) as policy,
    ):
        print("ready", flush=True)
        while True:
            async with Sandbox(policy, runtime) as sandbox:
                await sandbox.handle()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
