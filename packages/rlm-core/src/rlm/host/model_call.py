"""One model call for a cell: no kernel, no session of its own. It is journalled in the session of the cell's agent."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.broker.limits import AgentLimits
from rlm.broker.protocol import LlmRequest
from rlm.core.adaptation import Adaptation
from rlm.core.agent import Agent
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import Compact
from rlm.core.events import Event, ModelCalled, ParametersChanged
from rlm.core.messages import Message, Reply, Schema, System, User, Wire
from rlm.core.ports import Model, Sink, ToolChoice
from rlm.core.prompt import schema_prompt
from rlm.core.toolbox import Toolbox
from rlm.errors import AgentError
from rlm.host.answers import AnswerSchema, no_fit
from rlm.host.spec import AgentSpec, RunContext

_REQUESTS = 30
"""At most: the first, corrections, and those after a reply that was cut off."""


async def call_model(context: RunContext, spec: AgentSpec, depth: int, request: LlmRequest, sink: Sink) -> str:
    """The answer to what a cell of an agent at `depth` asks. `spec` has the model.

    Raises:
        AgentError: there is none, or none that fits the schema.
        RlmError: the model cannot be asked.
    """
    schema = AnswerSchema.from_text(request.schema) if request.schema else None
    model = context.models.model(spec.config, request.prompt, depth + 1, sink, stream=False, schema=schema)
    agent = Agent(
        model=_JournalledModel(model, context, sink),
        tools=Toolbox(),
        context=Compact(None),
        limits=AgentLimits(TurnLimit(_REQUESTS), context.limits),
        sink=_nothing,
        check=schema.find if schema else str,
    )
    result = await agent.run(*_messages(request, schema))
    if result.stop is Stop.SCHEMA:
        raise no_fit(result.words)
    if result.stop is not Stop.DONE:
        raise AgentError(result.words or f"the model call was stopped: {result.stop}", result.stop)
    return result.answer


def _messages(request: LlmRequest, schema: AnswerSchema | None) -> list[System | User]:
    system = [request.system, schema_prompt(schema.text) if schema else ""]
    opening = [System(text) for text in ["\n\n".join(filter(None, system))] if text]
    if not request.images:
        return [*opening, User(request.prompt)]
    pictures: list[Wire] = [{"type": "image_url", "image_url": {"url": url}} for url in request.images]
    return [*opening, User([{"type": "text", "text": request.prompt}, *pictures])]


def _nothing(_: Event) -> None:
    """It has no conversation to journal."""


class _JournalledModel:
    """A model of which each request is an event of the agent that asks."""

    def __init__(self, model: Model, context: RunContext, sink: Sink) -> None:
        self._model = model
        self._context = context
        self._sink = sink

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def params(self) -> Wire:
        return self._model.params

    @property
    def api(self) -> str:
        return self._model.api

    @property
    def adaptations(self) -> frozenset[Adaptation]:
        return self._model.adaptations

    async def complete(
        self, messages: Sequence[Message], tools: Sequence[Schema], tool_choice: ToolChoice = "auto"
    ) -> Reply:
        reply = await self._model.complete(messages, tools, tool_choice)
        self._context.limits.spend(reply.usage)
        requested = ParametersChanged(self.name, (), self.params, self.api)
        self._sink(ModelCalled(requested, tuple(messages), reply))
        return reply
