"""The data of the tasks over sequences and text, and what their bad input is told."""

import dataclasses
import datetime
import itertools
import types

import numpy as np
import pytest

from dqnlab import text
from dqnlab.types import UserError
from scripts.tasks import (
    adding,
    char_rnn,
    dates,
    embeddings,
    prose,
    sentence_score,
    source_tags,
    tagger,
    translation,
)


def test_a_texts_chunks_are_inputs_one_character_ahead_of_their_targets(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(chr(97 + k * k % 26) for k in range(1010)))
    config = char_rnn.Config(data=path, chunk=32)
    splits = char_rnn.load(config, seed=0)
    x, y, known = splits.train["x"]["tokens"], splits.train["y"], splits.info["vocabulary"]
    assert x.shape == y.shape == (29, 32)  # 95 % of 1010 in whole chunks
    flat = text.decode(np.concatenate([x.ravel(), splits.test["x"]["tokens"][0]]), known)
    assert flat + text.decode(splits.test["y"][0, -1:], known) == path.read_text()
    np.testing.assert_array_equal(y.ravel()[:-1], x.ravel()[1:])
    assert splits.test["y"][0, 0] == splits.test["x"]["tokens"][0, 1]
    assert y[-1, -1] == splits.test["x"]["tokens"][0, 0]
    assert splits.test["x"]["chunk"] == [29] == [splits.info["chunks"]]


def test_the_language_model_says_what_is_wrong_with_its_file(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(UserError, match=r"empty.txt is empty; at least 2,580"):
        char_rnn.load(char_rnn.Config(data=tmp_path / "empty.txt"), seed=0)


def test_tags_are_those_of_the_tokenizer():
    source = 'if x2 == 10:  # no\n    y = "a b"\n'
    runs = [
        (source_tags.TAGS[k], len(list(g))) for k, g in itertools.groupby(source_tags.tags(source))
    ]
    space = ("space", 1)
    assert runs == [
        *[("keyword", 2), space, ("name", 2), space, ("operator", 2), space, ("number", 2)],
        *[("operator", 1), ("space", 2), ("comment", 4), ("space", 5), ("name", 1), space],
        *[("operator", 1), space, ("string", 5), space],
    ]


def test_windows_of_source_begin_lines_and_come_from_other_files_than_the_tests():
    config = tagger.Config(files=10, windows=40, window=50)
    splits = tagger.load(config, seed=0)
    assert splits.train["x"].shape == splits.train["y"].shape == (40, 50)
    assert splits.test["x"].shape == (8, 50)
    with pytest.raises(UserError, match="--windows: 200000 of 50 characters from"):
        tagger.load(dataclasses.replace(config, windows=1_000_000), seed=0)


@pytest.mark.parametrize("form", dates.FORMATS)
def test_dates_are_written_day_first_and_fit(form):
    longest = dates.write(datetime.date(2027, 9, 22), form)  # a Wednesday in September
    assert len(longest) <= dates.LONGEST
    for date in (datetime.date(2028, 3, 4), datetime.date(1979, 11, 23)):
        written = dates.write(date, form)
        day, year = written.index(str(date.day)), written.rindex(date.strftime("%y"))
        assert day < year
        assert "04" not in written or " " not in written


def test_dates_by_hand():
    date = datetime.date(2028, 3, 3)
    assert dates.write(date, "%A the {ordinal} of %B, %Y") == "Friday the 3rd of March, 2028"
    assert dates.write(date, "%d. %B %y") == "3. March 28"
    assert dates.write(date, "%d/%m/%Y") == "03/03/2028"


@pytest.mark.parametrize(
    ("date", "says"),
    [
        ("3 March 2028" * 4, "--date has 48 characters; allowed: 1 to 40"),
        ("", "--date has 0 characters; allowed: 1 to 40"),
        ("3 März 2028", r"--date has 'ä' \(U\+00E4\) at position 3"),
    ],
)
def test_a_date_that_cannot_be_read_is_refused(date, says):
    splits = translation.load(translation.Config(dates=100), seed=0)
    trained = types.SimpleNamespace(info=splits.info)
    with pytest.raises(UserError, match=says):
        translation.sample(trained, translation.Sample(date))


def test_no_test_date_is_a_training_date():
    splits = translation.load(translation.Config(dates=500), seed=0)
    train, test = ({tuple(row) for row in part["y"]} for part in (splits.train, splits.test))
    assert (len(train), len(test)) == (500, 2000)
    assert not train & test


def test_sums_are_those_of_the_marked_numbers():
    splits = adding.load(adding.Config(length=10, sequences=50), seed=0)
    numbers, marks = splits.train["x"][..., 0], splits.train["x"][..., 1]
    assert (marks[:, :5].sum(axis=1) == 1).all()
    assert (marks[:, 5:].sum(axis=1) == 1).all()
    for row in range(50):
        a, b = np.flatnonzero(marks[row])
        assert splits.train["y"][row] == pytest.approx(numbers[row, a] + numbers[row, b])
    with pytest.raises(UserError, match="--length is 1; at least 2"):
        adding.load(adding.Config(length=1), seed=0)


def test_the_nearest_words_are_those_of_the_largest_cosine():
    table = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]])
    known = ["a", "b", "c", "d"]
    assert embeddings.nearest(table, known, "a", 2) == ["c", "d"]
    with pytest.raises(UserError, match="'e' is none of the 4 words"):
        embeddings.nearest(table, known, "e", 2)


def test_random_words_are_drawn_by_frequency_to_the_power_three_quarters():
    frequency = np.array([0.7, 0.2, 0.1])
    uniform = np.random.default_rng(0).random(100_000)
    drawn = np.searchsorted(embeddings._cumulative(frequency), uniform)
    expected = frequency**0.75 / (frequency**0.75).sum()
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), expected, atol=0.01)


def test_a_score_is_the_share_of_content_words_that_the_lead_has():
    lead, sentence = "the cat sat on a mat".split(), "the cat and a dog sat".split()
    assert sentence_score.score(sentence, lead, {"the", "a"}) == pytest.approx(2 / 4)
    assert sentence_score.score(["the"], lead, {"the"}) == 0.0


def test_prose_is_cut_into_sentences_of_words():
    said = "One two three four. Five six! Does it 'work' at all? (Yes it does so.)"
    assert prose.sentences(said) == [
        "One two three four.",
        "Does it 'work' at all?",
        "(Yes it does so.)",
    ]
    assert prose.words("It's 2 Words_here") == ["it", "s", "words", "here"]
