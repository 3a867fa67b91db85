# The first answer wins. The other sub-agents are cancelled and then cost nothing more.
jobs = [asyncio.create_task(rlm.run(f"Find a divisor of 8051 {how}.")) for how in ("from below", "by Fermat's method")]
done, late = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
for job in late:
    job.cancel()
await asyncio.gather(*late, return_exceptions=True)
print("race:", done.pop().result().answer, "-", sum(job.cancelled() for job in jobs), "cancelled")
