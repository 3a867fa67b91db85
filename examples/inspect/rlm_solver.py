"""A solver for inspect-ai: rlm in the sandbox of the sample, with the model of the evaluation.

python rlm_solver.py        # with inspect's mock model, and its sandbox `local`, which needs no docker
"""

from inspect_ai import Task, eval
from inspect_ai.agent import AgentState, sandbox_agent_bridge
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import Generate, TaskState, solver
from inspect_ai.util import sandbox


@solver
def rlm_solver(*flags: str):
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        async with sandbox_agent_bridge(AgentState(messages=state.messages)) as bridge:
            environment = {"RLM_BASE_URL": f"http://localhost:{bridge.port}/v1", "RLM_MODEL": "inspect"}
            done = await sandbox().exec(["rlm", "--limit-ok", *flags, "--", state.input_text], env=environment)
        state.messages, state.output = bridge.state.messages, bridge.state.output
        state.output.completion = done.stdout.strip()
        return state

    return solve


def mock() -> Task:
    """A task with one sample, which a cell solves."""
    samples = [Sample("What is the sum of 1 to 100?", target="5050")]
    return Task(samples, solver=rlm_solver("--max-turns", "5"), scorer=match(), sandbox="local")


if __name__ == "__main__":
    cell = ModelOutput.for_tool_call("mockllm/model", "ipython", {"code": "print(sum(range(1, 101)))"})
    answer = ModelOutput.from_content("mockllm/model", "5050")
    (log,) = eval(mock(), model=get_model("mockllm/model", custom_outputs=[cell, answer]), display="plain")
    print(log.status, log.results and log.results.scores[0].metrics["accuracy"].value)
