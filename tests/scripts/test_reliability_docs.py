"""docs/reliability.md promises nothing whose test is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_fault_table_names_exists():
    text = (ROOT / "docs" / "reliability.md").read_text()
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test_\w+(?:\.{3}\w*)?(?:\.py)?)`", text)
    assert len(names) > 60
    missing = []
    for name in names:
        if name.endswith(".py"):
            found = any((ROOT / "tests").rglob(name))
        else:  # `test_a_..._b` and `test_a_...` shorten long names
            begin, _, end = name.partition("...")
            pattern = rf"def {begin}" + (rf"\w*{end}\(" if "..." in name else r"\(")
            found = re.search(pattern, code) is not None
        if not found:
            missing.append(name)
    assert missing == []
