import pytest

from dqnlab.types import UserError
from envs import names


@pytest.mark.parametrize(
    "spelling",
    [
        *("MsPacman", "mspacman", "ms-pacman", "ms_pacman", "Ms. Pacman", " MSPACMAN "),
        *("ALE/MsPacman-v5", "MsPacmanNoFrameskip-v4", "MsPacmanDeterministic-v0", "MsPacman-v4"),
    ],
)
def test_every_usual_spelling_means_the_same_game(spelling):
    assert names.find_atari(spelling) == "MsPacman"
    assert names.rom_of(spelling) == ("MsPacman", "ms_pacman")


def test_all_104_registered_games_have_distinct_keys():
    games = names.atari_games()
    assert len(games) == 104
    assert len({names.key(game) for game in games}) == 104
    assert all(names.find_atari(game) == game for game in games)
    assert all(names.find_atari(rom) == game for game, rom in games.items())


@pytest.mark.parametrize("game", ["combat", "Joust", "maze_craze", "warlords"])
def test_games_that_would_end_the_process_are_unknown(game):
    with pytest.raises(UserError, match="unknown Atari game"):
        names.rom_of(game)


def test_an_unknown_game_is_answered_with_the_nearest_ones():
    with pytest.raises(UserError, match="unknown Atari game 'brekout': did you mean Breakout"):
        names.rom_of("brekout")


def test_an_altered_rom_is_refused_before_the_emulator_sees_it(tmp_path, monkeypatch):
    (tmp_path / "pong.bin").write_bytes(b"not pong")
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(UserError, match="cannot load the ROM of Pong"):
        names.rom_of("pong")


def test_a_missing_rom_folder_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="cannot load the ROM of Pong"):
        names.rom_of("pong")
