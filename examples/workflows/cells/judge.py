# A judge reads several drafts and selects one by its number.
from typing import Literal

drafts = await asyncio.gather(*(rlm.llm(f"Name a library for parsing dates, idea {n}.") for n in (1, 2, 3)))
listed = "\n".join(f"{n}: {draft}" for n, draft in enumerate(drafts))
best = await rlm.llm(f"Which name is the clearest? Answer with its number.\n{listed}", schema=Literal[0, 1, 2])
print("judge:", drafts[best])
