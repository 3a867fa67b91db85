"""Writes turns.jsonl, the recording that `rlm --model replay:turns.jsonl` plays. The cells are real and run each time."""

from __future__ import annotations

from pathlib import Path

from rlm_testkit.recording import Json, turn, write

QUESTION = "Which supplier is the cheapest?"
SUPPLIERS = ("north", "south", "west")
FAN_OUT = f"""\
suppliers = {list(SUPPLIERS)}
offers = await asyncio.gather(*(rlm.run(f"Read the offer of {{name}}.", schema=float) for name in suppliers))
for name, offer in zip(suppliers, offers):
    print(name, offer.value, "(replayed)" if offer.replayed else "")"""
ANSWER = """\
cheapest = min(zip(suppliers, offers), key=lambda pair: pair[1].value)
rlm.answer(f"{cheapest[0]}, at {cheapest[1].value:.2f}")"""
READ = """\
from pathlib import Path
offer = Path("offers/{0}.txt")
while not offer.exists():
    await asyncio.sleep(0.1)
rlm.answer(float(offer.read_text()))"""


def turns() -> list[Json]:
    """Return the whole recording. A resumed run starts from the beginning of it."""
    asked = [turn(QUESTION, "", FAN_OUT), turn(QUESTION, "", ANSWER)]
    return asked + [turn(f"Read the offer of {name}.", "", READ.format(name)) for name in SUPPLIERS]


if __name__ == "__main__":
    write(Path(__file__).with_name("turns.jsonl"), turns())
