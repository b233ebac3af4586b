"""A report of a real run of Pong, opened in a real browser that may not ask for anything."""

import dataclasses
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents import policy, schedules
from dqnlab.types import UserError
from envs import protocols
from scripts import options, report, report_content, runs

ROOT = Path(__file__).resolve().parents[2]
METRIC = "episode_return_mean"
EVIL = "<img src=x onerror=alert(1)>"


def run(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"scripts/{script}.py", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def pong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough for finished games: 21 points lost take some 800 agent steps a game."""
    run_dir = tmp_path_factory.mktemp("runs") / EVIL
    args = "--game Pong --frames 32000 --log-every 8000 --num-envs 8 --learning-starts 800"
    more = "--replay-capacity 1600 --update-period 400 --target-update-period 800 --batch-size 8"
    rest = "--hidden 16 --eval-episodes 1 --dueling --seed 7 --device cpu"
    done = run("train_dqn", *f"{args} {more} {rest}".split(), "--run-dir", str(run_dir))
    assert done.returncode == 0, done.stderr
    return run_dir


@pytest.fixture(scope="module")
def page(pong: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    done = run("report", str(pong), "--checkpoint", "last", "--device", "cpu", "--out", str(path))
    assert done.returncode == 0, done.stderr
    return path


def test_it_holds_everything_and_the_runs_name_is_text(page):
    html = page.read_text()
    headings = "Learning curves|Scores|Video|What it sees and values|Timings|reproduce|Protocol"
    places = [re.search(rf"<h[23]>[^<]*{heading}", html).start() for heading in headings.split("|")]
    assert places == sorted(places)  # the protocol's raw settings come last
    assert "an action sticks with probability 0.25" in html[: places[0]]
    assert EVIL not in html
    assert "&lt;img src=x" in html
    for words in ("dopamine:DQN", "human", "random", "sticky_actions", "machado2018", "0.10"):
        assert words in html


def test_a_browser_draws_every_figure_plays_the_video_and_asks_nobody(page):
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium: apt install chromium")
    asked, complaints = [], []
    with playwright.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.goto(page.as_uri())
        tab.wait_for_function("document.querySelector('video').readyState >= 2", timeout=20_000)
        seen = tab.evaluate(
            """[...document.images].map(image => {
                 const canvas = document.createElement('canvas');
                 canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
                 const context = canvas.getContext('2d');
                 context.drawImage(image, 0, 0);
                 const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
                 return new Set(new Uint32Array(pixels.buffer)).size;
               })"""
        )
        overflow = tab.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        video = tab.evaluate("(v => [v.videoWidth, v.duration])(document.querySelector('video'))")
        browser.close()
    # Curves, Q-values, four moments; and the dead units where the run has them.
    assert len(seen) == 6 + ("<h3>Dead units</h3>" in page.read_text())
    assert min(seen) > 20  # colours; an empty picture has one
    assert video[0] == 320
    assert video[1] > 10
    assert not overflow
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1
    assert complaints == []


def test_the_command_it_gives_makes_the_same_run(pong):
    config = policy.read_config(pong)
    words = report_content.reproduce(config).split()
    assert words[:2] == ["python", "scripts/train_dqn.py"]
    again, saved = options.parse(words[2:], None), options.read_options(pong)
    # Lengths that are shares of a run become agent steps when it starts.
    assert schedules.in_steps(again.settings, again.frames // 4) == saved.settings
    kept = ("game", "agent", "frames", "seed", "protocol", "log_every", "reseed_every", "keep")
    assert {k: getattr(again, k) for k in kept} == {k: getattr(saved, k) for k in kept}


def test_scores_stand_beside_random_play_the_human_and_published_agents(pong):
    loaded = runs.load(pong, METRIC)
    result = report_content.read_evaluation(pong)
    rows = report_content.evaluation_rows(loaded, result, ["dopamine:DQN"])
    by_name = {row["who"]: row for row in rows}
    assert by_name["random"]["score"] == -20.7
    assert by_name["human"]["human-normalised"] == "100.0%"
    assert by_name["dopamine:DQN"]["frames"] == 200_000_000
    assert rows[0]["score"] == json.loads((pong / "eval.json").read_text())["mean"]


def test_an_agents_own_row_is_among_the_scores_also_without_an_evaluation(pong):
    loaded = runs.load(pong, METRIC)
    (own,) = [
        row
        for row in report_content.evaluation_rows(loaded, None, ["dopamine:DQN"])
        if row["who"] == "prioritized, this run"
    ]
    assert own["score"] == loaded.rows[-1][METRIC]
    assert own["frames"] == loaded.rows[-1]["frames"]
    assert own["how"] == "in training, mean of last 100 games, machado2018"
    assert own["human-normalised"].endswith("%")


def test_a_protocol_is_told_in_words():
    nature = dataclasses.asdict(protocols.find("nature2015"))
    assert report_content.describe_protocol(nature) == (
        "nature2015: no sticky actions, up to 30 no-ops at the start, a lost life ends the "
        "learner's return, games end after 18,000 frames"
    )
    assert report_content.describe_protocol({"name": "catch"}) == "the game's own rules"


def test_dead_units_are_drawn_where_rows_have_them(pong):
    loaded = runs.load(pong, METRIC)
    row = {**loaded.rows[-1], "dead_units": 0.25}
    rows = [{**row, "dead_units": None}, row]
    (with_units,) = runs.with_values(runs.group([loaded._replace(rows=rows)]), "dead_units")
    assert with_units.runs[0].rows == [row]
    assert report._draw_dead_units([with_units]).caption.startswith("Dead units: the share")
    none = [{k: v for k, v in row.items() if k != "dead_units"}]
    assert report._draw_dead_units(runs.group([loaded._replace(rows=none)])) is None


def test_a_run_without_evaluation_says_how_to_get_one(pong, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(pong, copy)
    (copy / "eval.json").unlink()
    assert report.main([str(copy), "--no-pictures", "--out", str(tmp_path / "report.html")]) == 0
    assert "Not evaluated yet: python scripts/evaluate.py" in (tmp_path / "report.html").read_text()
    (copy / "eval.json").write_text('{"mean": 3}')
    with pytest.raises(UserError, match="not what evaluate"):
        report_content.read_evaluation(copy)


def test_killed_at_any_moment_it_leaves_the_old_report_or_the_new_one(pong, tmp_path):
    path, rng = tmp_path / "report.html", random.Random(1)
    args = [str(pong), "--no-pictures", "--device", "cpu", "--out", str(path)]
    path.write_text("the old report")
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "scripts/report.py", *args], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(1, 4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        text = path.read_text()
        assert text == "the old report" or text.endswith("</html>")
    assert run("report", *args).returncode == 0
    assert path.read_text().endswith("</html>")
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "no run folder is given"),
        (["/nowhere"], "/nowhere"),
        (["RUN", "--baseline", "dopamine:DQM"], "did you mean dopamine:DQN"),
        (["RUN", "--out", "/dev/null/report.html", "--no-pictures"], "/dev/null/report.html"),
    ],
)
def test_a_mistake_is_named(pong, args, says):
    with pytest.raises(UserError, match=says):
        report.main([str(pong) if each == "RUN" else each for each in args])
