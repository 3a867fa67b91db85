# All calls of a gather share one object: its data is in memory once, and each sub-agent reads its part of it.
log = b"GET /\nPOST /\n" * 1_000_000
part = len(log) // 4
tasks = [f"Count the POST requests in bytes {n * part} to {(n + 1) * part} of `context`." for n in range(4)]
counts = await asyncio.gather(*(rlm.run(task, context=log, schema=int) for task in tasks))
print("shared data:", [each.value for each in counts])
