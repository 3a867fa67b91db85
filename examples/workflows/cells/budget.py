# As many opinions as the budget allows, at about 20,000 tokens each.
left = rlm.budget().tokens_left
count = 3 if left is None else max(1, min(3, left // 20_000))
opinions = await rlm.map(lambda n: rlm.llm(f"Is 8051 a prime number? Opinion {n}.", schema=bool), range(1, count + 1))
print("budget:", count, "opinions, prime according to", sum(opinions))
