# Each level halves the rows and hands the same columns on. Large ones lie in memory once for all of them.
from array import array

sales = array("d", range(1_000))
whole = await rlm.run("Add up rows 0 to 1000 of `context`.", context=sales, schema=float)
print("shared frame:", whole.value, "by", whole.usage.completion, "tokens")
