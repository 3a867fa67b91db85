# Sub-agents read the parts and hand back values (rlm.answer); code adds them up, so the numbers pass through no model.
from collections import Counter

parts = ["red red blue", "blue green", "red"]
counted = await rlm.map("Count the colours in `context`.", parts)
print("map-reduce:", sum((Counter(part.value) for part in counted), Counter()).most_common())
