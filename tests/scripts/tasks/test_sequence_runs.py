"""Short real runs of the tasks over sequences, from the command line to what comes of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dqnlab.types import UserError
from scripts import train_supervised
from scripts.tasks import char_rnn, saved, sentence_score


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("char-rnn")
    (folder / "text.txt").write_text("the cat sat on the mat. " * 50)
    options = "--epochs 60 --hidden 16 --embedding 8 --chunk 24 --batch-size 8 --quiet"
    paths = ["--data", str(folder / "text.txt"), "--run-dir", str(folder / "run")]
    assert train_supervised.main(["char-rnn", *paths, *options.split()]) == 0
    return folder / "run"


def test_the_language_model_learns_a_text_and_says_how_it_compares(language_model):
    figures = json.loads((language_model / "result.json").read_text())["figures"]
    assert figures["nats_per_character"] < 0.5  # of 2.3 for a uniform guess
    assert figures["n_gram_nats"] == min(figures["n_gram_nats_of_orders"])
    assert figures["n_gram_nats"] == figures["n_gram_nats_of_orders"][figures["n_gram_order"] - 1]


def test_it_goes_on_with_a_prime_and_the_same_seed_says_the_same(language_model):
    trained = saved.load(language_model)
    likeliest = char_rnn.Sample(prime="the cat ", length=40, temperature=0.0)
    assert char_rnn.sample(trained, likeliest) == ("the cat sat on the mat. " * 2)[:48]
    wild = char_rnn.Sample(prime="t", length=30, temperature=2.0)
    said = char_rnn.sample(trained, wild)
    assert said == char_rnn.sample(trained, wild)
    assert said != char_rnn.sample(trained, char_rnn.Sample("t", 30, 2.0, seed=1))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (char_rnn.Sample(prime="Dog"), r"--prime has 'D' \(U\+0044\) at position 0"),
        (char_rnn.Sample(prime=""), "--prime needs a character"),
        (char_rnn.Sample(prime="a", length=0), "--length at least 1"),
        (char_rnn.Sample(prime="a", temperature=-1.0), "--temperature at least 0"),
    ],
)
def test_a_sample_that_cannot_be_is_refused(language_model, args, says):
    with pytest.raises(UserError, match=says):
        char_rnn.sample(saved.load(language_model), args)


def test_padding_does_not_change_the_scorers_loss():
    rng = np.random.default_rng(0)
    net, loss = sentence_score.make(sentence_score.Config(hidden=4), {})
    x = rng.normal(size=(2, 6, 3)).astype(np.float32)
    mask = np.arange(6)[None] < np.array([[4], [3]])
    scored = mask & (np.arange(6) > 1)[None]
    y = rng.random((2, 6)).astype(np.float32)
    batch = {"x": {"x": x, "mask": mask}, "y": y, "scored": scored}
    other = {
        "x": {"x": np.where(mask[..., None], x, 9.0), "mask": mask},
        "y": np.where(mask, y, 9.0),
        "scored": scored,
    }
    short = {
        "x": {"x": x[:, :4], "mask": mask[:, :4]},
        "y": y[:, :4],
        "scored": scored[:, :4],
    }
    params, state = net.init(jax.random.PRNGKey(0), batch["x"], False)
    values = [
        loss(params, state, jax.random.PRNGKey(0), each, False)[0] for each in (batch, other, short)
    ]
    assert jnp.isfinite(values[0])
    np.testing.assert_allclose(values[1:], values[0], rtol=1e-5)
