# Each level halves the range of rows and passes on the same column. A large column is in memory once for all agents.
from array import array

sales = array("d", range(1_000))
whole = await rlm.run("Add up rows 0 to 1000 of `context`.", context=sales, schema=float)
print("shared frame:", whole.value, "by", whole.usage.completion, "tokens")
