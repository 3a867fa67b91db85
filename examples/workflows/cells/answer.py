# The answer is a value of the kernel, however long: no model writes it out again.
rlm.answer({"sum": whole.value, "posts": sum(each.value for each in counts), "patched": changes})
