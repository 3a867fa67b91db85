# Take each answer as it comes, whichever is first.
import asyncio

tasks = ["Solve 3x + 4 = 19 by algebra.", "Solve 3x + 4 = 19 by trying numbers."]
for job in asyncio.as_completed([rlm.run(task) for task in tasks]):
    print("first completed:", (await job).answer)
