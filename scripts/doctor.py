"""Look at this machine: would training work, and if not, what brings what is missing.

python scripts/doctor.py

Needs no network, no GPU and no package: what is not installed is what it reports. Exit code 0
where training would work, 1 where it would not.
"""

import argparse
import importlib.metadata
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

if __package__ in (None, ""):  # run as a file: make `scripts`, `agents` and `envs` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import doctor_checks
from scripts.doctor_checks import Finding

_MARKS = {"ok": "ok  ", "note": "note", "fail": "FAIL"}


def examine(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a check finds; a check that breaks is itself a finding."""
    found = []
    try:
        found.extend(check())
    except importlib.metadata.PackageNotFoundError as error:
        found.append(Finding("fail", f"{error.name} is not installed", doctor_checks.SETUP))
    except ImportError as error:
        found.append(Finding("fail", f"cannot be looked at: {error}", doctor_checks.SETUP))
    except Exception as error:  # whatever is broken here, the user wants to hear of the rest too
        text = " ".join(str(error).split())
        found.append(Finding("fail", f"cannot be looked at: {type(error).__name__}: {text}"))
    return found


def lines(title: str, found: list[Finding]) -> Iterator[str]:
    """One check as text: title and findings, wrapped, with the command under what is missing."""
    for number, finding in enumerate(found):
        head = f"{title if number == 0 else '':<12} {_MARKS[finding.status]} "
        wrapper = textwrap.TextWrapper(
            100, head, " " * len(head), break_on_hyphens=False, break_long_words=False
        )
        yield wrapper.fill(finding.text)
        if finding.remedy:
            yield " " * len(head) + "-> " + finding.remedy


def main(args: list[str] | None = None) -> int:
    """Check everything, print it. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(args)
    failed = 0
    for title, check in doctor_checks.CHECKS.items():
        found = examine(check)
        failed += sum(finding.status == "fail" for finding in found)
        for line in lines(title, found):
            print(line, flush=True)
    print(
        "\nTraining works here: python scripts/train_dqn.py --game Pong"
        if not failed
        else f"\nTraining would not work here: {failed} problem{'s' * (failed > 1)} above."
    )
    return 1 if failed else 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # as scripts.startup does, which needs packages
        stream.reconfigure(errors="replace")
    sys.exit(main())
