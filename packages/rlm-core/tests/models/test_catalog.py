"""How the model lists of endpoints are read."""

from __future__ import annotations

from typing import Any

import pytest
from rlm.core.events import Event
from rlm.core.messages import User
from rlm.errors import ModelError
from rlm.providers.catalog import Catalog, ModelFacts, nearest, read_models
from rlm.providers.client import OpenAIClient
from rlm.providers.endpoint import Endpoint
from rlm.providers.prices import PriceList
from rlm_testkit.scripted import Scripted, always, error
from rlm_testkit.waiting import eventually

LISTS: dict[str, tuple[Any, list[ModelFacts]]] = {
    "OpenAI": ({"data": [{"id": "gpt-6-sol", "object": "model"}]}, [ModelFacts("gpt-6-sol")]),
    "vLLM": ({"data": [{"id": "m", "max_model_len": 32768, "root": "m"}]}, [ModelFacts("m", 32768)]),
    "OpenRouter": (
        {
            "data": [
                {
                    "id": "a/b",
                    "context_length": 200000,
                    "top_provider": {"context_length": 131072},
                }
            ]
        },
        [ModelFacts("a/b", 131072)],
    ),
    "Together": ([{"id": "m", "context_length": 8192}], [ModelFacts("m", 8192)]),
    "Groq": ({"data": [{"id": "m", "context_window": 131072}]}, [ModelFacts("m", 131072)]),
    "Mistral": (
        {"data": [{"id": "m", "max_context_length": 32000}]},
        [ModelFacts("m", 32000)],
    ),
    "LM Studio": (
        {"data": [{"id": "m", "max_context_length": 131072, "loaded_context_length": 4096}]},
        [ModelFacts("m", 4096)],
    ),
    "llama.cpp": (
        {
            "models": [{"name": "m.gguf", "capabilities": ["completion"]}],
            "data": [{"id": "m.gguf", "meta": {"n_ctx_train": 8192, "n_params": 1}}],
        },
        [ModelFacts("m.gguf", 8192)],
    ),
    "Ollama": ({"models": [{"name": "llama3:8b", "model": "llama3:8b"}]}, [ModelFacts("llama3:8b")]),
    "LiteLLM": ({"data": [{"id": "m", "model_info": {"max_input_tokens": 200000}}]}, [ModelFacts("m", 200000)]),
    "nonsense": (
        {"data": [{"id": 3}, "x", {"id": "m", "context_length": "many", "max_model_len": 0}]},
        [ModelFacts("m")],
    ),
    "not a list": ("hello", []),
    "null": (None, []),
    "data that is not a list": ({"data": {"id": "m"}}, []),
}


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_of_all_kinds_of_servers_are_read(name: str) -> None:
    body, facts = LISTS[name]
    assert facts == list(read_models(body))


def test_the_nearest_names_come_first() -> None:
    names = ["whisper", "gpt-6-sol", "gpt-6-astra", "text-embedding", "gpt-4o-mini", "dall-e"]
    assert ["gpt-4o-mini", "gpt-6-sol", "gpt-6-astra", "whisper", "text-embedding"] == nearest("gpt-4o", names)
    assert ["llama3:8b"] == nearest("llama-3.1", ["llama3:8b"])


async def test_an_unknown_model_is_reported_with_the_nearest_that_the_endpoint_has() -> None:
    events: list[Event] = []
    refusal = error(404, "The model `gpt-4o` does not exist or you do not have access to it.", "model_not_found")
    with Scripted(always(refusal), models=("gpt-6-sol", "gpt-6-astra")) as server:
        async with OpenAIClient(Endpoint(server.url, "sk-1"), 0) as client:
            with pytest.raises(ModelError) as caught:
                await client.model("gpt-4o", depth=0, sink=events.append, stream=False).complete([User("hi")], [])
            host = client.connection.endpoint.host
            assert f"{host} has no model gpt-4o; it has gpt-6-sol, gpt-6-astra: set RLM_MODEL." == str(caught.value)
            with pytest.raises(
                ModelError, match="does not exist"
            ):  # the model is in the list, so the key has no access to it
                await client.model("gpt-6-sol", depth=0, sink=events.append, stream=False).complete([User("hi")], [])
    assert 2 == len(server.requests)
    assert [] == events


async def test_the_window_is_asked_for_once_and_known_later() -> None:
    asked: list[str] = []

    async def ask() -> Any:
        asked.append("models")
        return {"data": [{"id": "m", "max_model_len": 4096}]}

    catalog = Catalog(ask, PriceList(Endpoint("http://127.0.0.1:1/v1")))
    assert catalog.window("m") is None
    await eventually(lambda: catalog.window("m") == 4096)
    assert catalog.window("other") is None
    await catalog.close()
    assert ["models"] == asked
