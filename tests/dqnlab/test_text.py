import pytest

from dqnlab import text
from dqnlab.types import UserError


def test_encoding_and_back():
    known = text.vocabulary("hello")
    assert known == "ehlo"
    assert text.encode("hole", known).tolist() == [1, 3, 2, 0]
    assert text.decode(text.encode("hole", known), known) == "hole"


def test_a_character_never_seen_is_named_with_its_place():
    with pytest.raises(UserError, match=r"--prime has 'é' \(U\+00E9\) at position 2.*'abc'"):
        text.encode("abé", "abc", "--prime")


def test_files_that_hold_no_text_are_refused_in_one_line(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("abc")
    (tmp_path / "bytes.txt").write_bytes(b"ab\xff")
    cases = {
        "empty.txt": "is empty; at least 10",
        "short.txt": "has 3 characters; at least 10",
        "bytes.txt": "no UTF-8 text: byte 0xff at offset 2",
        "emty.txt": "No such file.*did you mean.*empty.txt",
    }
    for name, says in cases.items():
        with pytest.raises(UserError, match=says) as error:
            text.read(tmp_path / name, least=10)
        assert "\n" not in str(error.value)
