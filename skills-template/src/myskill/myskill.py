"""The skill `myskill`."""


async def run(texts: list[str], longest: bool = False) -> dict[str, int]:
    """Count the words of some texts.

    Import slow modules (clients, numpy) inside this function, so that `myskill --help` answers at once.

    Args:
        texts: The texts to count the words of.
        longest: Whether to answer with the longest text alone.

    Returns:
        The number of words of each text.

    Raises:
        ValueError: If there is no text.
    """
    if not texts:
        raise ValueError("there is no text; give at least one")
    counts = {text: len(text.split()) for text in texts}
    if longest:
        text = max(counts, key=lambda text: counts[text])
        return {text: counts[text]}
    return counts
