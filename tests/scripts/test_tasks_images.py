"""The tasks on images: their data, a short run each, and the mistakes that a user can make."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from dqnlab.types import UserError
from scripts.tasks import (
    autoencoder,
    fonts,
    glyphs,
    mixture_density,
    pong_state,
    siamese,
    table,
    which_game,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_frames(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("DQNLAB_DATA", str(tmp_path_factory.getbasetemp() / "frames"))


def test_there_are_21_faces_with_94_characters_but_for_the_signs_that_tex_lacks():
    counts = {face: len(fonts.pictures(path)[1]) for face, path in fonts.faces().items()}
    assert len(counts) == 21
    tex = {face for face in counts if fonts.family(face) == "cm"}
    assert {face for face, count in counts.items() if count < 94} == tex - {"cmtt10"}
    assert {counts[face] for face in tex} == {85, 86, 94}


def test_a_character_is_drawn_whole_and_its_case_shows():
    images, labels = fonts.pictures(fonts.faces()["DejaVuSans"])
    for image in images:
        assert image.max() > 100
        assert max(image[0].max(), image[-1].max(), image[:, 0].max(), image[:, -1].max()) == 0
    by_name = dict(zip([fonts.CHARACTERS[k] for k in labels], images, strict=True))
    height = {c: np.flatnonzero(by_name[c].max(axis=1)).size for c in "oO"}
    assert height["O"] > height["o"] + 2


def test_no_face_is_in_both_parts():
    splits = glyphs.load(glyphs.Config(), seed=1)
    unseen = splits.info["unseen"]
    assert {fonts.family(face) for face in unseen} == set(fonts.FAMILIES)
    sizes = {face: len(fonts.pictures(path)[1]) for face, path in fonts.faces().items()}
    assert len(splits.test["y"]) == sum(sizes[face] for face in unseen)
    assert len(splits.train["y"]) == sum(sizes.values()) - len(splits.test["y"])
    train = {image.tobytes() for image in splits.train["x"]}
    test = {image.tobytes() for image in splits.test["x"]}
    assert len(train & test) < 0.05 * len(test)  # dots and bars of sister faces


def test_a_family_can_be_held_out_and_a_wrong_one_is_said():
    splits = glyphs.load(glyphs.Config(unseen_family="STIXGeneral"), seed=0)
    assert len(splits.info["unseen"]) == 4
    with pytest.raises(UserError, match="unknown family of fonts 'STIX'"):
        glyphs.load(glyphs.Config(unseen_family="STIX"), seed=0)


def test_positions_that_are_not_on_the_screen_cost_nothing():
    x = np.zeros((2, 84, 84, 4), np.uint8)
    y = np.zeros((2, 4), np.float32)
    mask = np.array([[True, True, True, True], [False, False, True, True]])
    batch = {"x": x, "y": y, "mask": mask}
    net, loss = pong_state.make(pong_state.Config(), {})
    params, state = net.init(jax.random.PRNGKey(0), x, True)
    moved = {**batch, "y": np.where(mask, y, 77).astype(np.float32)}
    losses = [loss(params, state, jax.random.PRNGKey(0), b, False)[0] for b in (batch, moved)]
    assert losses[0] == losses[1] > 0


def test_a_game_that_does_not_exist_is_said():
    with pytest.raises(UserError, match=r"unknown Atari game 'Pnog'.*Pong"):
        which_game.load(which_game.Config(games=("Pnog",)), seed=0)


def test_a_code_larger_than_the_data_is_said():
    config = autoencoder.Config(games=("Pong",), episodes=3, num_test=2, frames=12)
    with pytest.raises(UserError, match="--code is 16; PCA of 12 frames has no more"):
        autoencoder.load(config, seed=0)


def test_places_are_shared_by_the_two_nearest_parts():
    y = np.array([[10.0, 100.0, 50.0, 203.0]])
    parts = pong_state._two_hot(y)
    assert (np.count_nonzero(parts, axis=-1) == 2).all()
    located = pong_state._located(np.log(np.maximum(parts, 1e-30)))
    np.testing.assert_allclose(located.positions, y, rtol=1e-4)


def test_the_pairs_of_the_curve_that_folds_over_have_several_y():
    splits = mixture_density.load(mixture_density.Config(), seed=0)
    near = np.abs(splits.test["x"][:, 0] - 0.5) < 0.03
    assert np.ptp(splits.test["y"][near]) > 0.5
    with pytest.raises(UserError, match="--components is 0"):
        mixture_density.load(mixture_density.Config(components=0), seed=0)


def test_unseen_digits_are_not_in_the_training_part():
    splits = siamese.load(siamese.Config(classes=7), seed=0)
    assert set(splits.train["y"]) == set(range(7))
    assert set(splits.test["y"]) == set(range(10))


SHORT = {
    "digits-autoencoder": "--epochs 2 --tied --pretrain 1",
    "glyphs": "--epochs 1",
    "pong-state": "--epochs 1 --episodes 7 --labels 64",
    "which-game": "--epochs 1 --games Pong Breakout --episodes 3 --frames 12 --batch-size 8",
    "frame-autoencoder": "--epochs 1 --games Pong --episodes 3 --frames 12 --batch-size 4 --code 4",
    "vae": "--epochs 2",
    "cvae": "--epochs 2",
    "siamese": "--epochs 2",
    "mixture-density": "--epochs 2",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_short_run_leaves_figures_and_pictures(name, tmp_path):
    command = [sys.executable, "scripts/train_supervised.py", name, *SHORT[name].split()]
    command += ["--device", "cpu", "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "run" / "result.json").read_text())["figures"]
    assert all(np.isfinite(v) for v in figures.values() if isinstance(v, float))
    assert next(iter(figures.values())) is not None
    pictures = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert len(pictures) >= (1 if name in ("pong-state", "which-game") else 2)
    assert name in table.TASKS
