# A task outlives its cell: this cell ends, and the sub-agent continues.
chapter = asyncio.create_task(rlm.run("Proofread the long chapter."))
print("handle: done" if chapter.done() else "handle: it works")
