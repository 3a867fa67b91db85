"""One model call for a cell, without a kernel or a session. The session of the cell's agent has its journal records."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.broker.limits import AgentLimits
from rlm.broker.protocol import LlmRequest
from rlm.core.adaptation import Adaptation
from rlm.core.agent import Agent, AgentResult
from rlm.core.budget import Stop, TurnLimit
from rlm.core.context import Compact
from rlm.core.events import CallKey, ModelCalled, ParametersChanged
from rlm.core.messages import CHAT, Message, Reply, Schema, System, User, Wire
from rlm.core.ports import Limits, Model, Sink, ToolChoice
from rlm.core.prompt import schema_prompt
from rlm.core.toolbox import Toolbox
from rlm.errors import AgentError, ModelError, RlmError
from rlm.host.answers import AnswerSchema, no_fit
from rlm.host.spec import AgentSpec, RunContext

_REQUESTS = 30
"""The most requests: the first, corrections, and continuations after a truncated reply."""


async def call_model(
    context: RunContext, spec: AgentSpec, depth: int, request: LlmRequest, sink: Sink, *, key: CallKey
) -> str:
    """Return the model's answer to a request of a cell of an agent at `depth`. `spec` has the model.

    Raises:
        AgentError: there is no answer, or none that fits the schema.
        RlmError: the model cannot be asked.
    """
    schema = AnswerSchema.from_text(request.schema) if request.schema else None
    model = context.models.model(spec.config, request.prompt, depth + 1, sink, stream=False, schema=schema)
    limits = AgentLimits(TurnLimit(_REQUESTS), context.limits)
    result = await _asked(_JournalledModel(model, context, sink, key), limits, request, schema)
    if result.stop is Stop.SCHEMA:
        raise no_fit(result.words)
    if result.stop is not Stop.DONE:
        raise AgentError(result.words or f"the model call was stopped: {result.stop}", result.stop)
    return result.answer


async def recorded_answer(request: LlmRequest, replies: Sequence[Reply]) -> str | None:
    """Return the answer that these recorded replies lead to; None if they lead to none."""
    if not replies:
        return None
    schema = AnswerSchema.from_text(request.schema) if request.schema else None
    try:
        result = await _asked(_RecordedModel(replies), TurnLimit(_REQUESTS), request, schema)
    except RlmError:
        return None
    return result.answer if result.stop is Stop.DONE else None


async def _asked(model: Model, limits: Limits, request: LlmRequest, schema: AnswerSchema | None) -> AgentResult:
    system = "\n\n".join(filter(None, [request.system, schema_prompt(schema.text) if schema else ""]))
    content: str | list[Wire] = request.prompt
    if request.images:
        pictures: list[Wire] = [{"type": "image_url", "image_url": {"url": url}} for url in request.images]
        content = [{"type": "text", "text": request.prompt}, *pictures]
    agent = Agent(
        model=model,
        tools=Toolbox(),
        context=Compact(None),
        limits=limits,
        sink=lambda _: None,  # the call has no conversation to journal
        check=schema.find if schema else str,
    )
    return await agent.run(*([System(system)] if system else []), User(content))


class _JournalledModel:
    """A model whose requests are events of the agent that asks."""

    def __init__(self, model: Model, context: RunContext, sink: Sink, key: CallKey) -> None:
        self._model = model
        self._context = context
        self._sink = sink
        self._key = key

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
        self._sink(ModelCalled(requested, tuple(messages), reply, self._key))
        return reply


class _RecordedModel:
    """Returns recorded replies, in order."""

    name = ""
    api = CHAT

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.params: Wire = {}
        self.adaptations: frozenset[Adaptation] = frozenset()
        self._replies = iter(replies)

    async def complete(
        self,
        messages: Sequence[Message],  # noqa: ARG002 - a model's signature
        tools: Sequence[Schema],  # noqa: ARG002
        tool_choice: ToolChoice = "auto",  # noqa: ARG002
    ) -> Reply:
        """Return the next reply.

        Raises:
            ModelError: there are no more.
        """
        if (reply := next(self._replies, None)) is None:
            raise ModelError("no more was recorded")
        return reply
