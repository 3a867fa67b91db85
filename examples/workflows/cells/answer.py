# The answer is a value from the kernel, however long: the model does not write it out.
rlm.answer({"sum": whole.value, "posts": sum(each.value for each in counts), "patched": changes})
