"""Dates of a hundred years as people write them, day first."""

import datetime

import numpy as np

LONGEST = 40  # characters of a source
ORDINALS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
# Python's formats after {ordinal}; years of two digits are 1970 to 2069. Always day, month, year.
FORMATS = (
    "%d/%m/%Y|%d.%m.%y|%d-%m-%Y|%d %b %Y|%d %B %Y|%a %d %b '%y|%A, %d %B %Y|%d. %B %y|"
    "%A the {ordinal} of %B, %Y|{ordinal} of %B %Y|{ordinal} %b %y|the {ordinal} of %b '%y"
).split("|")


def write(date: datetime.date, form: str) -> str:
    """A date in one of FORMATS; days and months lose their leading zero where a space follows."""
    ordinal = f"{date.day}{ORDINALS.get(date.day, 'th')}"
    written = date.strftime(form.format(ordinal=ordinal))
    return written.replace(" 0", " ").removeprefix("0") if " " in written else written


def pairs(count: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Different dates from 1970 to 2069: each written in one of FORMATS, and as DD/MM/YYYY."""
    days = rng.permutation(36_525)[:count]
    chosen = [datetime.date(1970, 1, 1) + datetime.timedelta(int(day)) for day in days]
    written = [write(date, FORMATS[rng.integers(len(FORMATS))]) for date in chosen]
    return written, [date.strftime("%d/%m/%Y") for date in chosen]
