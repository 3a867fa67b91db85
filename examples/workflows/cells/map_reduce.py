# Sub-agents read the parts and return values (rlm.answer). Code adds them up, so no model copies the numbers.
from collections import Counter

parts = ["red red blue", "blue green", "red"]
counted = await rlm.map("Count the colours in `context`.", parts)
print("map-reduce:", sum((Counter(part.value) for part in counted), Counter()).most_common())
