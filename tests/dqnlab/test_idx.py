import gzip

import numpy as np
import pytest

from dqnlab import idx
from dqnlab.types import UserError


@pytest.mark.parametrize("name", ["a", "a.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_what_is_written_is_read(tmp_path, name, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    idx.write(tmp_path / name, array)
    again = idx.read(tmp_path / name)
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, array)


def test_the_bytes_are_those_of_the_format(tmp_path):
    # MNIST's label file: magic 0x00000801, the count, one byte per label.
    (tmp_path / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    np.testing.assert_array_equal(idx.read(tmp_path / "labels"), np.array([5, 0, 4], np.uint8))
    idx.write(tmp_path / "again", np.array([5, 0, 4], np.uint8))
    assert (tmp_path / "again").read_bytes() == (tmp_path / "labels").read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x89PNG\r\n", "no IDX file: it begins with 89 50 4e 47"),
        (bytes([0, 0, 8]), "no IDX file"),
        (bytes([0, 0, 7, 1, 0, 0, 0, 1, 9]), "no IDX file"),
        (bytes([0, 0, 8, 3, 0, 0, 0, 1]), "cut off within its header"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 4, 1, 2]), r"has 10 bytes; \[4\] uint8 would be 12"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 1, 2]), r"has 10 bytes; \[1\] uint8 would be 9"),
        (bytes([0, 0, 8, 1, 255, 255, 255, 255]), r"\[-1\] uint8"),
        (gzip.compress(bytes(100), mtime=0)[:-9], "cannot be read"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, content, says):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        idx.read(tmp_path / "file")
    assert str(tmp_path / "file") in str(error.value)


def test_a_pair_that_does_not_go_together_is_refused(tmp_path):
    idx.write(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(UserError, match="no train-labels-idx1-ubyte"):
        idx.read_pair(tmp_path, "train")
    idx.write(tmp_path / "train-labels.idx1-ubyte", np.zeros(2, np.uint8))
    with pytest.raises(UserError, match=r"images \[3, 4, 4\] and labels \[2\]"):
        idx.read_pair(tmp_path, "train")
    with pytest.raises(UserError, match="is no folder"):
        idx.read_pair(tmp_path / "nowhere", "train")
