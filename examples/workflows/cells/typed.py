# The answer is an object of this type. If an answer does not match, rlm sends it back to the model with the reason.
from dataclasses import dataclass


@dataclass
class Book:
    title: str
    year: int


found = await rlm.run("Which book begins like this? Call me Ishmael.", schema=Book)
print("typed:", found.value, "at the second try" if found.turns == 2 else "")
