"""Numbers with their nouns: "1 game", "20 games"."""


def count(number: int, noun: str) -> str:
    """Return the number and the noun, which gets an s unless the number is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
