"""The cost of a reply, from the published prices of the endpoint's models."""

from __future__ import annotations

from typing import Any

import pytest
from rlm.core.messages import Usage
from rlm.providers.endpoint import Endpoint
from rlm.providers.prices import PriceList

OPENAI, XAI = "https://api.openai.com/v1", "https://api.x.ai/v1"
USAGE = Usage(1_000_000, 100_000, 400_000, 50_000)


def chat(model: str | None = "gpt-4o-2024-08-06", **more: Any) -> dict[str, Any]:
    counted = {
        "prompt_tokens": USAGE.prompt,
        "completion_tokens": USAGE.completion,
        "prompt_tokens_details": {"cached_tokens": USAGE.cached},
        "completion_tokens_details": {"reasoning_tokens": USAGE.reasoning},
    }
    return {"model": model, "usage": counted, **more}


def responses(model: str, **more: Any) -> dict[str, Any]:
    counted = {
        "input_tokens": USAGE.prompt,
        "output_tokens": USAGE.completion,
        "input_tokens_details": {"cached_tokens": USAGE.cached},
    }
    return {"model": model, "usage": counted, **more}


# a million tokens of gpt-4o cost $2.50, cached $1.25, output $10
GPT_4O = 0.6 * 2.5 + 0.4 * 1.25 + 0.1 * 10

CASES: dict[str, tuple[str, str, Any, str, Usage, float | None]] = {
    "chat": (OPENAI, "gpt-4o", chat(), "chat", USAGE, GPT_4O),
    "responses": (OPENAI, "gpt-4o", responses("gpt-4o"), "responses", USAGE, GPT_4O),
    "Azure, where the model is the name of a deployment": (
        "https://acme.openai.azure.com/openai/v1", "prod-1", responses("gpt-4o"), "responses", USAGE, GPT_4O,
    ),
    "the reply names no model": (OPENAI, "gpt-4o", chat(None), "chat", USAGE, GPT_4O),
    "the reply has no usage": (OPENAI, "gpt-4o", {}, "chat", USAGE, GPT_4O),
    "an empty body": (OPENAI, "gpt-4o", None, "chat", USAGE, GPT_4O),
    "estimated, so without a cache": (
        OPENAI, "gpt-4o", {}, "chat", Usage(1_000_000, 100_000, 7, 7, estimated=True), 2.5 + 1.0,
    ),
    "impossible counts": (OPENAI, "gpt-4o", chat(usage={"prompt_tokens": -3, "completion_tokens": 1}), "chat", USAGE, GPT_4O),
    "more cached tokens than prompt tokens": (OPENAI, "gpt-4o", {}, "chat", Usage(10, 0, 20), 10 * 1.25e-6),
    "x.ai does not count reasoning as output": (
        XAI, "grok-4", chat("grok-4"), "chat", USAGE, 0.6 * 3 + 0.4 * 0.75 + 0.15 * 15,
    ),
    "an unknown model": (OPENAI, "no-such-model", chat("no-such-model"), "chat", USAGE, None),
    "a local server": ("http://127.0.0.1:1/v1", "gpt-4o", chat(), "chat", USAGE, None),
    "a server in the local network": ("http://gpu.internal:8000/v1", "gpt-4o", chat(), "chat", USAGE, None),
    "an unlisted endpoint": ("https://models.example.com/v1", "gpt-4o", chat(), "chat", USAGE, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_a_reply_is_priced_as_its_provider_counts(name: str) -> None:
    url, model, body, api, usage, cost = CASES[name]
    prices = PriceList(Endpoint(url))
    priced = await prices.priced(usage, model, body, api)
    await prices.close()
    assert priced.cost == (None if cost is None else pytest.approx(cost))
    assert (usage.prompt, usage.completion) == (priced.prompt, priced.completion)


async def test_another_tier_has_another_price() -> None:
    prices = PriceList(Endpoint(OPENAI))
    costs = [
        (await prices.priced(USAGE, "gpt-5", responses("gpt-5", service_tier=tier), "responses")).cost
        for tier in ("flex", "default", "priority")
    ]
    assert None not in costs
    assert costs == sorted(set(costs), key=lambda cost: cost or 0), "each tier costs more than the one before"


async def test_windows_are_published_for_known_endpoints_alone() -> None:
    openai, own = PriceList(Endpoint(OPENAI)), PriceList(Endpoint("http://127.0.0.1:1/v1"))
    assert 128_000 == await openai.window("gpt-4o")
    assert await openai.window("no-such-model") is None
    assert await own.window("gpt-4o") is None, "a local server may serve any model under this name"
    await openai.close()
