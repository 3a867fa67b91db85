# Each item goes through all steps independently: none waits for a slower one.
async def dates_of(note):
    found = await rlm.llm(f"Copy the dates out of this note, one a line: {note}")
    return await rlm.llm(f"Write these dates as YYYY-MM-DD, one a line: {found}")


notes = ["Met on 3 May 2024, signed on 9 June.", "Paid on 1 July 2024."]
print("pipeline:", await rlm.map(dates_of, notes, limit=8, retries=1))
