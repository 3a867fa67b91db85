"""The models of an endpoint: their names and context windows.

The first source is the endpoint's `/models`, the second the published lists (`prices`). Both are read only when needed,
and no request waits for them.
"""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlm.providers.prices import PriceList
from rlm.text.clip import one_line

NAMED = 5
"""Maximum models that a message names."""

_WINDOWS = (
    "context_length",  # OpenRouter, Together, Fireworks; n_ctx and the like below: llama.cpp
    "max_model_len",  # vLLM, SGLang
    "context_window",  # Groq
    "max_context_length",  # Mistral, LM Studio
    "loaded_context_length",  # LM Studio: the length that the model was loaded with
    "max_input_tokens",  # LiteLLM, Anthropic
    "inputTokenLimit",  # Gemini
    "n_ctx",
    "n_ctx_train",
)
_BELOW = ("top_provider", "meta", "limits", "model_info")
"""Objects in an entry that may also contain one of these fields."""
_LEAST = 512  # tokens: a smaller number is not a context window
_LENGTH = 200  # maximum characters of a name


@dataclass(frozen=True, slots=True)
class ModelFacts:
    name: str
    window: int | None = None
    """Tokens of the context; None: unknown."""


class Catalog:
    """The models of one endpoint. `ask` requests `/models`. It is called once, and again only after a failure."""

    def __init__(self, ask: Callable[[], Awaitable[Any]], prices: PriceList) -> None:
        self._ask = ask
        self._prices = prices
        self._asking = asyncio.Lock()
        self._models: dict[str, ModelFacts] | None = None
        self._windows: dict[str, int | None] = {}
        self._looking: set[asyncio.Task[None]] = set()

    async def models(self) -> dict[str, ModelFacts]:
        """Return the models by name, in the endpoint's order.

        Raises:
            Exception: the error of `ask`.
        """
        async with self._asking:
            if self._models is None:
                self._models = {facts.name: facts for facts in read_models(await self._ask())}
        return self._models

    def window(self, model: str) -> int | None:
        """Return the model's context window in tokens, None if not (yet) known. The first call starts a look-up."""
        if model not in self._windows:
            self._windows[model] = None
            task = asyncio.ensure_future(self._look_up(model))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)
        return self._windows[model]

    async def close(self) -> None:
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)

    async def _look_up(self, model: str) -> None:
        try:
            facts = (await self.models()).get(model)
        except Exception:  # noqa: BLE001 - many servers have no such list, and a run does not need it
            facts = None
        window = facts.window if facts else None
        self._windows[model] = window or await self._prices.window(model)


def read_models(body: Any) -> Iterator[ModelFacts]:
    """Read the models in a reply to GET /models, in any provider's form."""
    entries = body.get("data") or body.get("models") if isinstance(body, Mapping) else body  # Together: a bare list
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping):
            name = next((entry[key] for key in ("id", "model", "name") if isinstance(entry.get(key), str)), "")
            if name:
                yield ModelFacts(name, _window(entry))


def _window(entry: Mapping[str, Any]) -> int | None:
    """Return the smallest window in an entry: a server may run a model with a smaller window than the model has."""
    places = [entry, *(entry[name] for name in _BELOW if isinstance(entry.get(name), Mapping))]
    values = [place.get(name) for place in places for name in _WINDOWS]
    return min((value for value in values if type(value) is int and value >= _LEAST), default=None)


def nearest(model: str, names: list[str]) -> list[str]:
    """Return names that the user may have meant: similar names, then names of the same family, then the first ones."""
    near = difflib.get_close_matches(model, names, NAMED, 0.5)
    family = re.split(r"[-:/.]", model.rpartition("/")[2])[0].lower()
    related = [name for name in names if family and family in name.lower()]
    return list(dict.fromkeys([*near, *related, *names]))[:NAMED]


def no_such_model(model: str, host: str, names: list[str]) -> str:
    """Return the error message for an unknown model. `names`: the endpoint's models; not empty."""
    some = [one_line(name, _LENGTH) for name in nearest(model, names)]
    more = ", …" if len(names) > len(some) else ""
    return f"{host} has no model {model}; it has {', '.join(some)}{more}: set RLM_MODEL"
