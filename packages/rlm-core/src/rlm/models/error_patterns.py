"""How providers and gateways say what is wrong: patterns for the text of an error, in lower case. Pure."""

from __future__ import annotations

import re

_OVERFLOW = (
    r"maximum context length",  # OpenAI, vLLM, OpenRouter, DeepSeek, Mistral
    r"context_length_exceeded",
    r"context[_ ](window|length|size) (is )?exceeded",
    r"contextwindowexceeded",  # LiteLLM
    r"exceeds? (the |its )?(model'?s? )?(maximum |available )?context",  # OpenAI's Responses, llama.cpp, Ollama
    r"exceed_context_size",
    r"exceed context limit",  # Anthropic, with max_tokens
    r"context window exceeds",  # MiniMax
    r"(prompt|input|request|conversation) is too (long|large)",  # Anthropic, Bedrock, Fireworks
    r"request entity too large",
    r"request (body )?too large",
    r"longer than the (maximum model|model'?s (maximum )?context) length",  # vLLM, SGLang
    r"maximum (prompt|input|sequence) length",  # xAI
    r"input token count.{0,40}(exceeds|only supports)",  # Gemini, Vertex
    r"token count of \d+ exceeds",  # GitHub
    r"exceeded model token limit",  # Moonshot
    r"too many tokens",  # Cohere
    r"tokens in (the )?request more than max",  # Zhipu
    r"`inputs`.{0,40} must (be <= \d|have less than \d+ tokens)",  # TGI, Together
    r"range of input length should be",  # DashScope
    r"reduce the length of (the|your) (messages|prompt|input)",  # Groq, Cerebras, OpenAI
    r"than the context length|context length of only",  # LM Studio
    r"when context the overflows|context overflow",
)

OVERFLOW = re.compile("|".join(_OVERFLOW))
NEVER_FITS = re.compile(r"request too large for")  # a single request over the tokens per minute: never fits
QUOTA = re.compile(
    r"insufficient_(user_)?quota|insufficient (account )?(balance|credits?|funds)|credit balance is too low"
    r"|check your (plan and )?billing|billing_(hard_limit|not_active)|billing hard limit"
    r"|budget.{0,20}exceeded|exceeded.?budget|over budget|exceeds? (the |your )?budget|max budget"  # LiteLLM
    r"|exceeded_current_quota|spend(ing)? (limit|cap)|used all available credits|(requires|out of) (more )?credits"
    r"|(key|credit|credits|token quota) (limit )?(has been )?(exceeded|exhausted)|no resource package|arrearage"
    r"|usage limit (has been )?(reached|exceeded)|quota.{0,20}(exhausted|used up)|allocationquota|余额不足"
)
CONTENT_FILTER = re.compile(
    r"content_?(filter|policy)|content (filter|management policy|moderation)|responsibleaipolicy"  # Azure, LiteLLM
    r"|violat(es?|ing|ion).{0,40}(policy|policies)|rejected .{0,20}safety system"  # OpenAI
    r"|(input|prompt|output|message|content)\b.{0,20} (was|were|has been) (flagged|blocked)"  # OpenRouter, Google
    r"|prohibited_content|blocked by .{0,20}(safety|guardrail|moderation)|guardrail.{0,20}(intervened|blocked)"
    r"|data_?inspection_?failed|inappropriate content|content exists risk|sensitive (content|information)"  # in China
    r"|contentfilter|敏感"
)
PASSING = re.compile(r"retrydelay|per minute|requests? per|tokens? per")  # Gemini's rate limit speaks of billing, too
BAD_KEY = re.compile(r"(invalid|incorrect|no|missing) api[ _-]?key|api[ _-]?key (is )?(not valid|invalid|missing)")
UNKNOWN_MODEL = re.compile(
    r"\b(model|deployment)\b[^.;]{0,100}?( not found|\bnot exist|n't exist|\bnot available|\bnot supported$)"
    r"|\b(model|deployment) [`'\"\w./:@-]+ (is )?(unknown|invalid|not supported)"
    r"|unknown model|invalid model|no such model|not a valid model|could not find (the )?model|model_?not_?found"
    r"|api deployment for this resource does not exist|no endpoints found (for|matching)|model.not.exist",
)
TEMPLATE = re.compile(
    r"jinja|chat[_ ]template|templateerror|raise_exception|while executing \w+ at line|after the optional system"
    r"|roles must alternate|unexpected role|message_order|unable to generate parser|error rendering"
    r"|parse tool call arguments|json\.exception\.",
)
"""How servers say that the model's chat template refuses the messages: the same ones it refuses always."""

PLAIN_HTTP = re.compile(r"http request (was sent )?to (an )?https (port|server)|requires tls")
