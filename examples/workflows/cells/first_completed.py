# Process each answer as soon as it arrives.
import asyncio

tasks = ["Solve 3x + 4 = 19 by algebra.", "Solve 3x + 4 = 19 by trying numbers."]
for job in asyncio.as_completed([rlm.run(task) for task in tasks]):
    print("first completed:", (await job).answer)
