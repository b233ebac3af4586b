"""Curves and tables of run folders that the real writers wrote."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from agents import policy
from agents.presets import Settings
from dqnlab.metrics import MetricsWriter
from dqnlab.types import EnvSpec, UserError
from envs import names, protocols, published, scores
from scripts import curves, plot_runs, runs, tables

ROOT = Path(__file__).resolve().parents[2]
METRIC = "episode_return_mean"


def make_run(
    path: Path,
    game: str = "Pong",
    seed: int = 0,
    last: int = 6,
    slope: float = 2.0,
    protocol: str = "machado2018",
    **settings: Any,
) -> Path:
    """A run with a row every half a million frames up to `last` million; scores rise from -20."""
    rules = {**dataclasses.asdict(protocols.find(protocol)), "training": True}
    spec = EnvSpec(game, 8, 6, ("NOOP",) * 6, (84, 84), "uint8", 4, 4, rules, False)
    path.mkdir(parents=True)
    policy.write_config(path, "dqn", Settings(**settings), spec, {"seed": seed})
    with MetricsWriter(path) as writer:
        writer.write({"agent_steps": 1, "frames": 4, "seconds": 0.1, "updates": 0, METRIC: None})
        for half in range(1, 2 * last + 1):
            frames = half * 500_000
            writer.write(
                {
                    "agent_steps": frames // 4,
                    "frames": frames,
                    "seconds": frames / 500,
                    "updates": frames // 16,
                    METRIC: -20 + slope * half / 2,
                    "loss": 1 / half,
                }
            )
    return path


def draw(*paths: Path, baselines: tuple[str, ...] = (), x: str = "frames") -> Any:
    groups = runs.group([runs.load(path, METRIC) for path in paths])
    return curves.draw(groups, baselines, x, METRIC)


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines() if line.get_label()[0] != "_"}


def test_seeds_become_a_mean_a_band_and_a_tail_of_the_longer_run(tmp_path: Path):
    short = make_run(tmp_path / "0", seed=0, last=4, slope=1)
    long = make_run(tmp_path / "1", seed=1, last=6, slope=3)
    figure = draw(short, long)
    (axes,) = figure.axes
    assert axes.get_title() == "Pong (machado2018)"
    assert axes.get_xlabel() == "frames"
    assert "score" in axes.get_ylabel()
    mean = lines(axes)["dqn: mean of 2 seeds, band min to max"].get_xydata()
    np.testing.assert_allclose(mean[:, 0], np.arange(1, 9) * 500_000)
    np.testing.assert_allclose(mean[:, 1], -20 + 2 * np.arange(1, 9) / 2)
    band = axes.collections[0].get_paths()[0].vertices
    assert {(4e6, -16.0), (4e6, -8.0)} <= {tuple(point) for point in band}
    tail = lines(axes)["single seeds that are further"]
    np.testing.assert_allclose(tail.get_xdata(), np.arange(8, 13) * 500_000)


def test_a_run_of_one_row_is_a_point(tmp_path: Path):
    path = make_run(tmp_path / "0", last=1)
    rows = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(rows[:2]))
    (axes,) = draw(path).axes
    curve = lines(axes)["dqn: 1 seed"]
    assert curve.get_marker() == "o"
    assert len(curve.get_xdata()) == 1


def test_published_points_stand_at_their_frames_and_lines_at_random_and_human(tmp_path: Path):
    (axes,) = draw(make_run(tmp_path / "0"), baselines=("dopamine:Rainbow", "btr_10M")).axes
    found = lines(axes)
    curve = next(line for label, line in found.items() if label.startswith("dopamine:Rainbow"))
    known = scores.dopamine_curve("Pong", "Rainbow")
    points = dict(curve.get_xydata())
    assert points == {m * 1e6: known[m * 1_000_000] for m in (1, 5, 10)}
    for name in ("random", "human"):
        assert set(found[name].get_ydata()) == {scores.reference("Pong")[name]}
    legend = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert set(legend) == set(found)
    assert any("sticky actions 0.25, training average" in text for text in legend)


def test_far_points_do_not_squeeze_the_curve():
    points = dict.fromkeys((1, 5, 10, 200), 0.0)
    assert list(published.visible(points, 12)) == [1, 5, 10]
    assert list(published.visible(points, 4)) == [1, 5]
    assert not published.visible(points, 0.1)


@pytest.mark.parametrize(
    ("x", "label", "right"),
    [("seconds", "training time (hours)", 12_000), ("updates", "gradient updates", 375_000)],
)
def test_curves_can_be_over_time_and_updates(tmp_path: Path, x: str, label: str, right: float):
    (axes,) = draw(make_run(tmp_path / "0"), x=x).axes
    assert axes.get_xlabel() == label
    assert axes.dataLim.x1 == right
    if x == "seconds":
        ticks = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        assert all(float(text.get_text()) == place / 3600 for place, text in ticks)


def test_each_game_has_a_panel_and_settings_that_differ_are_in_the_legend(tmp_path: Path):
    figure = draw(
        make_run(tmp_path / "0", n_step=3),
        make_run(tmp_path / "1", n_step=1),
        make_run(tmp_path / "2", game="Breakout", n_step=3),
    )
    assert [axes.get_title().split()[0] for axes in figure.axes] == ["Pong", "Breakout"]
    assert set(lines(figure.axes[0])) >= {"dqn (n_step=3): 1 seed", "dqn (n_step=1): 1 seed"}


def test_a_long_label_is_whole_within_the_figure(tmp_path: Path):
    # As with a change of preset: many settings differ, three are named.
    one = {"num_envs": 16, "learning_rate_final": 2.5e-5, "learning_rate_decay_steps": 500_000}
    other = {"num_envs": 8, "learning_rate_final": 5e-5, "learning_rate_decay_steps": 900_000}
    paths = (
        make_run(tmp_path / "a", **one),
        make_run(tmp_path / "b", optimizer_epsilon=1e-5, **other),
    )
    figure = draw(*paths, baselines=("dopamine:DQN",))
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    texts = [" ".join(text.get_text().split()) for text in legend.get_texts()]
    labels = [each.label for each in runs.group([runs.load(path, METRIC) for path in paths])]
    assert all(any(text.startswith(label) for text in texts) for label in labels)


def test_a_label_names_what_is_compared_on_a_game_and_not_what_sets_games_apart(tmp_path: Path):
    paths = [
        make_run(tmp_path / "0", double=True, n_step=3),
        make_run(tmp_path / "1", double=False, n_step=3),
        make_run(tmp_path / "2", game="Breakout", double=True, n_step=1),
    ]
    groups = runs.group([runs.load(path, METRIC) for path in paths])
    labels = [each.label for each in groups]
    assert labels == ["dqn (double=True)", "dqn (double=False)", "dqn (double=True)"]
    assert [each.label for each in runs.group([groups[0].runs[0], groups[2].runs[0]])] == [
        "dqn"
    ] * 2


def test_games_with_other_settings_have_one_label_a_note_and_no_common_aggregate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    paths = [
        make_run(tmp_path / "0", seed=0),
        make_run(tmp_path / "1", seed=1),
        make_run(tmp_path / "2", game="Breakout", hidden=64),
    ]
    figure = draw(*paths)
    (text,) = {text for axes in figure.axes for text in lines(axes) if text.startswith("dqn")}
    assert text == "dqn: mean of 1 to 2 seeds, band min to max"  # one entry in the legend
    assert plot_runs.main([*map(str, paths), "--out", str(tmp_path / "a.svg")]) == 0
    said = capsys.readouterr()
    note = "note: dqn has other settings on other games: Pong hidden=512; Breakout hidden=64"
    assert note in said.err
    assert "IQM" not in said.out


def test_settings_past_the_third_tell_labels_apart_by_a_number(tmp_path: Path):
    same = {"n_step": 1, "hidden": 64, "double": True}
    paths = [
        make_run(tmp_path / "0"),
        make_run(tmp_path / "1", epochs=3, **same),
        make_run(tmp_path / "2", epochs=4, **same),
        make_run(tmp_path / "3", torso="mlp", **same),
        make_run(tmp_path / "4", torso="mlp", seed=1, **same),
    ]
    labels = [each.label for each in runs.group([runs.load(path, METRIC) for path in paths])]
    assert [label.rpartition(" ")[2] for label in labels] == ["...)", "...)", "#2", "#3"]
    assert labels[2] == labels[1] + " #2"


def test_the_command_writes_a_picture_and_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    pong = [make_run(tmp_path / str(seed), seed=seed, slope=seed + 1) for seed in range(3)]
    other = make_run(tmp_path / "other", game="Breakout")
    arguments = [*map(str, (*pong, other)), "--baseline", "dopamine:dqn", "--out"]
    assert plot_runs.main([*arguments, str(tmp_path / "a.png")]) == 0
    pixels = imread(tmp_path / "a.png")
    assert pixels.shape[0] > 400
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 100
    shown = capsys.readouterr().out
    assert "| Pong | dqn | machado2018 | 3 | 5,000,000 | -10.0 ± 5.000 |" in shown

    tables = ["--table", str(tmp_path / "t.csv")]
    assert plot_runs.main([*arguments, str(tmp_path / "a.svg"), *tables]) == 0
    assert "</svg>" in (tmp_path / "a.svg").read_text()
    with open(tmp_path / "t.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["game"] == "Pong"]
    ours = [row for row in rows if row["agent"] == "dqn"]
    assert [int(row["frames"]) for row in ours] == [1_000_000, 5_000_000, 6_000_000]
    assert [float(row["score"]) for row in ours] == [-18, -10, -8]
    assert [float(row["std"]) for row in ours] == [1, 5, 6]
    assert float(ours[0]["hns"]) == pytest.approx((-18 + 20.7) / (14.6 + 20.7))
    with open(tmp_path / "t-aggregates.csv", newline="") as file:
        over = list(csv.DictReader(file))
    assert {row["games"] for row in over} == {"these 2"}
    assert {row["agent"] for row in over} == {"dqn", "dopamine:DQN"}
    assert {row["IQM low"] for row in over} == {""}  # Breakout has a single run


def test_aggregates_are_over_whole_subsets_with_intervals_over_runs(tmp_path: Path):
    atari5 = [g for g in names.atari_games() if scores.reference(g).get("in_atari5")]
    paths = [
        make_run(tmp_path / f"{game}{seed}", game=game, seed=seed, slope=100 + seed)
        for game in (*atari5, "Pong")
        for seed in range(2)
    ]
    groups = runs.group([runs.load(path, METRIC) for path in paths])
    rows = tables.aggregate_rows(groups, ["dopamine_dqn"], METRIC)
    assert [row["games"] for row in rows] == ["atari5", "these 6"]
    ends = [-20 + 100 * 6, -20 + 101 * 6]
    hns = [scores.human_normalized(game, score) for game in atari5 for score in ends]
    assert rows[0]["mean"].value == pytest.approx(np.mean(hns))
    assert rows[0]["IQM"].low <= rows[0]["IQM"].value <= rows[0]["IQM"].high
    assert rows[0]["frames"] == 6_000_000


def test_published_scores_stand_only_at_frames_that_the_runs_of_that_set_have(tmp_path: Path):
    atari5 = published.members("atari5")
    paths = [make_run(tmp_path / game, game=game, last=6) for game in atari5]
    paths.append(make_run(tmp_path / "Pong", last=4))
    groups = runs.group([runs.load(path, METRIC) for path in paths])
    rows = tables.aggregate_rows(groups, ["dopamine:DQN"], METRIC)
    frames = {
        (row["games"], row["agent"]): [
            each["frames"]
            for each in rows
            if each["games"] == row["games"] and each["agent"] == row["agent"]
        ]
        for row in rows
    }
    assert frames["atari5", "dqn"] == [1_000_000, 5_000_000, 6_000_000]
    assert frames["atari5", "dopamine:DQN"] == [1_000_000, 5_000_000]
    assert frames["these 6", "dqn"] == [1_000_000, 4_000_000]
    assert frames["these 6", "dopamine:DQN"] == [1_000_000]


def two_agents(folder: Path) -> list[Path]:
    """Two seeds of each of two agents on two games; `n_step=3` wins all pairs of runs on Pong,
    and of the four pairs on Breakout one, with one draw."""
    ends = {"Pong": {3: (8, 9), 1: (1, 2)}, "Breakout": {3: (1, 3), 1: (3, 4)}}
    return [
        make_run(folder / f"{game}{n}{seed}", game, seed, slope=slope, n_step=n)
        for game, agents in ends.items()
        for n, slopes in agents.items()
        for seed, slope in enumerate(slopes)
    ]


def test_the_probability_of_improvement_is_the_share_of_pairs_of_runs_won(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [*map(str, two_agents(tmp_path)), "--out", str(tmp_path / "a.png")]
    assert plot_runs.main([*arguments, "--table", str(tmp_path / "t.csv")]) == 0
    assert "Probability of improvement: that a run of `agent`" in capsys.readouterr().out
    with open(tmp_path / "t-improvements.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["games"], row["frames"]) == ("these 2", "6000000")
    assert (row["agent"], row["over"]) == ("dqn (n_step=3)", "dqn (n_step=1)")
    chance = float(row["probability of improvement"])
    assert chance == (4 / 4 + (0 + 0.5) / 4) / 2
    ends = [float(row[f"probability of improvement {end}"]) for end in ("low", "high")]
    assert 0.5 <= ends[0] < chance < ends[1] <= 1


def test_agents_are_compared_at_the_last_frames_that_all_their_runs_have(tmp_path: Path):
    paths = two_agents(tmp_path)
    paths.append(make_run(tmp_path / "2", "Pong", 2, last=4, n_step=1))
    groups = runs.group([runs.load(path, METRIC) for path in paths])
    (row,) = tables.improvement_rows(groups, [], METRIC)
    assert row["frames"] == 4_000_000
    assert "at 4M frames" in curves.draw_profiles(groups, METRIC).axes[0].get_title()


def test_profiles_show_the_share_of_runs_above_each_score(tmp_path: Path):
    arguments = [*map(str, two_agents(tmp_path)), "--out", str(tmp_path / "a.svg")]
    assert plot_runs.main([*arguments, "--profiles", str(tmp_path / "p.png")]) == 0
    assert len(np.unique(imread(tmp_path / "p.png").reshape(-1, 4), axis=0)) > 100

    groups = runs.group([runs.load(path, METRIC) for path in two_agents(tmp_path / "again")])
    (axes,) = curves.draw_profiles(groups, METRIC).axes
    assert axes.get_title() == "these 2 at 6M frames (machado2018)"
    best = next(line for label, line in lines(axes).items() if label.startswith("dqn (n_step=3)"))
    scores_of = {"Pong": (28, 34), "Breakout": (-14, -2)}  # -20 + 6 slope
    hns = [scores.human_normalized(game, s) for game, each in scores_of.items() for s in each]
    shares = [np.mean([score > level for score in hns]) for level in best.get_xdata()]
    np.testing.assert_allclose(best.get_ydata(), shares)
    assert len(axes.collections) == 2  # a band for each agent
    assert [set(lines(axes)[name].get_xdata()) for name in ("random", "human")] == [{0}, {1}]


def test_a_profile_of_single_runs_has_no_band(tmp_path: Path):
    paths = [make_run(tmp_path / game, game) for game in ("Pong", "Breakout")]
    groups = runs.group([runs.load(path, METRIC) for path in paths])
    (axes,) = curves.draw_profiles(groups, METRIC).axes
    assert not axes.collections
    assert set(lines(axes)) == {"dqn", "random", "human"}


def test_mixed_protocols_are_refused_naming_runs_and_difference(tmp_path: Path):
    here = make_run(tmp_path / "here")
    there = make_run(tmp_path / "there", game="Breakout", protocol="nature2015")
    with pytest.raises(UserError, match=r"here and .*there .*sticky_actions 0\.25 and 0\.0"):
        plot_runs.main([str(here), str(there)])


def test_of_a_run_that_is_there_twice_the_longer_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    short, long = make_run(tmp_path / "short", last=2), make_run(tmp_path / "long", last=4)
    (kept,) = runs.load_all([short, long, short], METRIC)
    assert kept.path == long
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"note: left out: {short} is the same run as {long}: dqn on Pong")
    assert len(said) == 2


def test_every_published_point_of_the_figure_is_in_the_table(tmp_path: Path):
    baselines = ["dopamine:Rainbow", "btr_10M"]
    for last in (1, 6):
        path = make_run(tmp_path / str(last), last=last)
        (axes,) = draw(path, baselines=tuple(baselines)).axes
        shown = {
            (label.partition(":")[0] if label[0] == "b" else "dopamine:Rainbow", x, y)
            for label, line in lines(axes).items()
            if "published" in label
            for x, y in line.get_xydata()
        }
        rows = tables.score_rows(runs.group([runs.load(path, METRIC)]), baselines, METRIC)
        found = {(r["agent"], r["frames"], r["score"]) for r in rows if r["agent"] in baselines}
        assert shown == found
        assert found
    assert [row["frames"] for row in rows] == sorted(row["frames"] for row in rows)


def test_what_is_no_usable_run_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As `plot_runs.py runs/suite/*` gives: runs, logs, the suite's own files, what just began."""
    good = make_run(tmp_path / "Pong-s0")
    log = tmp_path / "Pong-s0.log"
    log.write_text("compiling ...")
    torn = make_run(tmp_path / "torn", seed=1)
    (torn / "config.json").write_text("{")
    other = make_run(tmp_path / "other", seed=2)
    (other / "metrics.jsonl").write_text("\0\0\n[]\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    new, absent = make_run(tmp_path / "new", seed=3, last=0), tmp_path / "absent"
    bad = [log, torn, other, empty, new, absent]
    out = tmp_path / "a.png"
    assert plot_runs.main([*map(str, (*bad, good)), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "| Pong | dqn | machado2018 | 1 |" in shown.out
    notes = shown.err.splitlines()
    assert len(notes) == len(bad)
    assert all(
        note.startswith("note: left out: ") and str(path) in note
        for note, path in zip(notes, bad, strict=True)
    )
    assert out.exists()
    out.unlink()
    with pytest.raises(UserError) as error:
        plot_runs.main([*map(str, bad), "--out", str(out)])
    assert str(error.value).startswith(f"none of 6 can be used; first: {log} is no run folder")
    assert not out.exists()


def test_a_run_without_what_the_curves_are_over_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    good, other = make_run(tmp_path / "0"), make_run(tmp_path / "1", seed=1)
    rows = (other / "metrics.jsonl").read_text().replace('"seconds"', '"hours"')
    (other / "metrics.jsonl").write_text(rows)
    arguments = [str(good), str(other), "--x", "seconds", "--out", str(tmp_path / "a.png")]
    assert plot_runs.main(arguments) == 0
    assert f"{other} has no value of {METRIC} with seconds yet" in capsys.readouterr().err


def test_a_run_still_going_on_is_drawn_without_its_torn_row(tmp_path: Path):
    path = make_run(tmp_path / "0", last=2)
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"agent_steps": 999999, "frames": 39')
    (axes,) = draw(path).axes
    assert axes.dataLim.x1 == 2_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline", "dopamine:rainbw"], "did you mean dopamine:Rainbow"),
        (["--baseline", "rainbow_nop"], "did you mean rainbow_noop"),
        (["--metric", "episode_return"], "did you mean episode_return_mean"),
        (["--baseline", "mrq_10M", "--x", "updates"], "--baseline needs --x frames"),
        (["--out", "curves.jpg"], "--out is curves.jpg; it must end in .png or .svg"),
        (["--profiles", "p.jpg"], "--profiles is p.jpg; it must end in .png or .svg"),
        (["--profiles", "curves.png"], "--profiles and --out are both curves.png"),
        (
            ["--profiles", "p.png", "--metric", "loss"],
            "--profiles needs a --metric that is a score",
        ),
        (["--profiles", "p.png"], "need 2 or more Atari games that all agents played"),
        (["--table", "scores"], "--table is scores; it must end in .md or .csv"),
    ],
)
def test_mistakes_are_named_with_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    run = make_run(tmp_path / "0")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        plot_runs.main([str(run), *arguments])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_seeds_without_a_common_range_are_drawn_and_leave_the_table_empty(tmp_path: Path):
    early, late = make_run(tmp_path / "0", last=1), make_run(tmp_path / "1", seed=1)
    rows = (late / "metrics.jsonl").read_text().splitlines(keepends=True)
    (late / "metrics.jsonl").write_text("".join(rows[-3:]))
    output = ["--out", str(tmp_path / "a.png"), "--table", str(tmp_path / "t.csv")]
    assert plot_runs.main([str(early), str(late), *output]) == 0
    assert (tmp_path / "t.csv").read_text() == ""


def test_a_run_without_scores_yet_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"0 has no value of episode_return_mean yet"):
        runs.load(make_run(tmp_path / "0", last=0), METRIC)


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path):
    script = [sys.executable, ROOT / "scripts" / "plot_runs.py", tmp_path / "absent"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not done.stdout
