# One object for all calls of a gather: its data lie in memory once, and each sub-agent reads its part there.
log = b"GET /\nPOST /\n" * 1_000_000
part = len(log) // 4
tasks = [f"Count the POST requests in bytes {n * part} to {(n + 1) * part} of `context`." for n in range(4)]
counts = await asyncio.gather(*(rlm.run(task, context=log, schema=int) for task in tasks))
print("shared data:", [each.value for each in counts])
