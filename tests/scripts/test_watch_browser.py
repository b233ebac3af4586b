"""The page of scripts/watch.py in a real browser, driven as a person would."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.test_watch import save_run, watching

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt install chromium")


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    run_dir = save_run(tmp_path_factory.mktemp("runs") / "breakout", "Breakout")
    with watching(run_dir) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Page:
    """A page and all that it said and asked for."""

    def __init__(self, browser: "sync_api.Browser", url: str):
        self.page = browser.new_page(viewport={"width": 1220, "height": 780})
        self.page.set_default_timeout(60_000)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.errors.append(said.text) if said.type == "error" else None,
        )
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.goto(url)
        self.waits("values.length > 2")

    def waits(self, condition: str) -> None:
        # Not wait_for_function: it evaluates strings in the page, which the page's policy forbids.
        deadline = time.monotonic() + 60
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.02)

    def text(self, name: str) -> str:
        return self.page.inner_text(f"#{name}")

    def click(self, name: str, expected: str) -> None:
        self.page.click(f"#{name}")
        self.waits(expected)

    def pixels(self, canvas: str) -> list[int]:
        return self.page.evaluate(
            f"""(() => {{ const c = document.getElementById("{canvas}");
            return [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]; }})()"""
        )


@pytest.fixture(scope="module")
def page(browser, url) -> Iterator[Page]:
    page = Page(browser, url)
    yield page
    assert page.errors == []
    host = url.removeprefix("http://")
    assert all(each.split("://")[1].split("/")[0] == host for each in page.requests)
    assert any(each.startswith("ws://") for each in page.requests)


def test_few_actions_fill_the_card_of_q_values(page):
    card, values, last, track = page.page.evaluate(
        """(() => { const rows = [...document.querySelectorAll("#values .row")];
        return [document.getElementById("network"), document.getElementById("values"),
                rows.at(-1), rows[0].querySelector(".track")]
          .map(each => each.getBoundingClientRect()).map(box => [box.top, box.bottom]); })()"""
    )
    heading_and_note = 110
    assert values[1] - values[0] > card[1] - card[0] - heading_and_note
    assert abs(last[1] - values[1]) < 2
    assert track[1] - track[0] > 30  # four actions: broad bars


def test_the_page_draws_the_game_the_input_and_the_values(page):
    screen = page.pixels("screen")
    assert len(screen) == 210 * 160 * 4
    colours = {tuple(screen[i : i + 3]) for i in range(0, len(screen), 4)}
    assert len(colours) >= 8  # the rows of bricks, walls, paddle
    assert any(max(c) - min(c) > 80 for c in colours)
    frame = page.pixels("frame")
    assert len(frame) == 84 * 84 * 4
    assert any(frame[i] > frame[i + 2] + 50 for i in range(0, len(frame), 4))  # orange: saliency
    assert any(page.pixels("history")[3::4])
    assert page.page.locator("#values .row").count() == 4
    assert page.page.locator("#values .row.taken").count() == 1
    assert page.text("title") == "Breakout"
    assert page.text("lives") in "012345"  # 0 where a game has just ended
    assert "1 viewer" in page.text("status")


def test_pause_step_and_play_by_buttons_and_keys(page):
    page.click("pause", 'document.getElementById("pause").textContent === "Play"')
    assert page.text("status").startswith("paused")
    before = int(page.text("step").replace(",", ""))
    page.click("one-step", f'document.getElementById("step").textContent == {before + 1}')
    page.page.keyboard.press("n")
    page.waits(f'document.getElementById("step").textContent == {before + 2}')
    page.page.keyboard.press("p")
    page.waits('document.getElementById("pause").textContent === "Pause"')
    page.waits(f'document.getElementById("step").textContent > {before + 3}')
    number = int(page.text("number"))
    page.click("new-game", f'document.getElementById("number").textContent > {number}')


def test_every_control_changes_what_it_names(page):
    page.click("pause", 'document.getElementById("pause").textContent === "Play"')
    page.page.select_option("#checkpoint", "100")
    page.waits('state.checkpoint === "100"')
    page.page.select_option("#speed", "4")
    page.waits("state.speed === 4")
    page.page.fill("#epsilon", "0.5")
    page.waits("state.epsilon === 0.5")
    assert page.text("epsilon-text") == "50.0 %"
    page.page.fill("#sticky", "0.1")
    page.page.dispatch_event("#sticky", "change")
    page.waits("state.sticky_actions === 0.1 && state.step === 0")
    page.page.uncheck("#heat")
    page.waits("!state.has_heat")
    frame = page.pixels("frame")
    assert all(frame[i] == frame[i + 1] == frame[i + 2] for i in range(0, len(frame), 4))
    page.page.check("#heat")
    page.waits("state.has_heat")
    page.click("pause", 'document.getElementById("pause").textContent === "Pause"')


def test_a_person_takes_over_with_the_keyboard(page):
    page.page.keyboard.press("h")
    page.waits("state.human")
    assert page.text("held") == "You play: NOOP"
    page.page.keyboard.down("ArrowRight")
    page.waits('document.getElementById("held").textContent === "You play: RIGHT"')
    assert page.page.inner_text("#values .row.taken .name") == "RIGHT"
    page.page.keyboard.down("Space")  # Breakout has no RIGHTFIRE: what was held goes on
    page.page.keyboard.up("ArrowRight")
    page.waits('document.getElementById("held").textContent === "You play: FIRE"')
    page.page.keyboard.up("Space")
    page.waits('document.getElementById("held").textContent === "You play: NOOP"')
    page.click("human", "!state.human")


def test_every_control_has_a_name_for_screen_readers(page):
    unnamed = page.page.evaluate(
        """[...document.querySelectorAll("button, select, input, canvas")].filter(x =>
        !(x.ariaLabel || x.textContent.trim() || (x.labels && x.labels.length)))
        .map(x => x.outerHTML)"""
    )
    assert unnamed == []


@pytest.mark.parametrize("width", [1220, 820, 400])
def test_nothing_overflows_the_window(page, width):
    page.page.set_viewport_size({"width": width, "height": 780})
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_comes_back_when_the_server_was_away(browser, tmp_path):
    run_dir = save_run(Path(tmp_path) / "catch", "catch")
    with watching(run_dir) as url:
        page = Page(browser, url)
    page.waits('document.getElementById("status").textContent.startsWith("no connection")')
    port = int(url.rsplit(":", 1)[1])
    with watching(run_dir, port=port):
        page.waits('document.getElementById("status").textContent.includes("viewer")')
    page.page.close()
