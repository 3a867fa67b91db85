"""A taskset of the package verifiers: two sums. All its versions from 0.2 to 0.4 can load it.

There is no container engine where the tests run, so the harness is configured to need none. With LOSE_A_REPLY, the
first reply of a rollout is lost on its way from the package to rlm, after the package has recorded it.
"""

import os

import verifiers.v1 as vf
from verifiers.v1.harnesses.rlm.harness import RLMHarness
from verifiers.v1.interception import server


class SumsData(vf.TaskData):
    answer: str = ""


class SumsTask(vf.Task[SumsData]):
    @vf.reward(weight=1.0)
    async def right(self, trace: vf.Trace) -> float:
        return float(self.data.answer in str(trace.nodes[-1].message))


class SumsConfig(vf.TasksetConfig):
    pass


class SumsTaskset(vf.Taskset[SumsTask, SumsConfig]):
    def _tasks(self):
        for index, number in enumerate((1, 2)):
            data = SumsData(idx=index, prompt=f"What is {number} + 40?", answer=str(number + 40))
            yield SumsTask(data, self.config.task)

    def load(self):
        return list(self._tasks())

    def load_tasks(self):  # its name in 0.2
        return list(self._tasks())


__all__ = ["SumsTaskset"]

RLMHarness.NEEDS_CONTAINER = False
if os.environ.get("LOSE_A_REPLY"):
    handle = server.InterceptionServer.handle_request
    lost = set()

    async def losing(self, request, *arguments):
        response = await handle(self, request, *arguments)
        secret = request.headers["authorization"]
        if secret not in lost:
            lost.add(secret)
            request.transport.abort()
        return response

    server.InterceptionServer.handle_request = losing
