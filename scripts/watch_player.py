"""The one loop that plays: obeys commands, keeps the pace, hands each moment on as bytes."""

import json
import queue
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable

from agents.policy import Policy
from dqnlab.types import UserError
from scripts import watch_game
from scripts.watch_controls import Command, Controls
from scripts.watch_game import Game, Moment

_MAX_SHOWN = 60.0  # moments per second that are shown at most
_LAST_SCORES = 10


class Player:
    """Owns the game and its thread. It rests while it is paused or nobody watches."""

    def __init__(
        self,
        load: Callable[[str], Policy],
        trained: Policy,
        controls: Controls,
        seed: int,
        publish: Callable[[bytes], None],
        on_failure: Callable[[BaseException], None],
    ):
        self._load, self._trained, self._seed = load, trained, seed
        self._publish, self._on_failure = publish, on_failure
        self.controls = controls
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        self._game = self._new_game()
        self._num_viewers, self._problem = 0, ""
        self._wants_step = False
        self._stepped_at: deque[float] = deque(maxlen=30)
        self._shown_at = -1.0

    def start(self) -> None:
        """Compile what a moment needs, and play."""
        self._game.look(self.controls.epsilon, with_heat=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the emulators."""
        self._commands.put(None)
        self._thread.join(timeout=10)

    def send(self, command: Command) -> None:
        """Have a command obeyed before the next step; from any thread."""
        self._commands.put(command)

    def _run(self) -> None:
        try:
            self._play()
        except BaseException as error:
            self._on_failure(error)
        finally:
            self._game.close()

    def _play(self) -> None:
        due = time.monotonic()
        while True:
            rests = self.controls.paused or not self._num_viewers
            try:
                timeout = None if rests else max(0.0, due - time.monotonic())
                command = self._commands.get(timeout=timeout)
            except queue.Empty:
                has_changed = False
            else:
                if command is None:
                    return
                has_changed = self._obey(command)
            now = time.monotonic()
            if self._wants_step or not (self.controls.paused or not self._num_viewers or now < due):
                self._wants_step = False
                self._step()
                due = max(due + self._period(), now)
                self._show(must=self.controls.paused)
            elif has_changed:
                self._show(must=True)

    def _period(self) -> float:
        speed = self.controls.speed * self._game.steps_per_second
        return 1 / speed if speed else 0.0

    def _obey(self, command: Command) -> bool:
        """Whether there is something else to see than before."""
        name, value = command
        if name == "viewers":
            self._num_viewers = value
        elif name == "step":
            self._wants_step = True
            return False
        elif name == "new_game":
            self._game.new_game()
        else:
            self.controls = self.controls._replace(**{name: value})
            if name == "checkpoint":
                self._use(value)
            elif name == "sticky_actions":
                self._game.close()
                self._game = self._new_game()
        return name != "action"

    def _use(self, checkpoint: str) -> None:
        try:
            new = self._load(checkpoint)
        except UserError as error:  # a run that still trains may have deleted it
            self._problem = str(error)
        else:
            self._problem = ""
            # The agent stays: its functions are compiled.
            self._trained = self._trained._replace(params=new.params, net_state=new.net_state)
            self._game.use(self._trained)

    def _new_game(self) -> Game:
        protocol = watch_game.protocol_of(self._trained, self.controls.sticky_actions)
        return Game(self._trained, protocol, self._seed)

    def _step(self) -> None:
        self._game.step(self.controls.action if self.controls.human else None)
        self._stepped_at.append(time.monotonic())

    def _show(self, must: bool) -> None:
        now = time.monotonic()
        is_due = must or now - self._shown_at >= 0.9 / _MAX_SHOWN
        moment = self._game.look(self.controls.epsilon, self.controls.heat and is_due)
        if is_due:
            self._shown_at = now
            self._publish(self._encode(moment))

    def _encode(self, moment: Moment) -> bytes:
        times = self._stepped_at
        is_moving = len(times) > 1 and time.monotonic() - times[-1] < 1.0
        rate = (len(times) - 1) / (times[-1] - times[0]) if is_moving else 0.0
        controls = self.controls
        returns = moment.returns
        state = {
            **controls._asdict(),
            "action": controls.action if controls.human else moment.action,
            "q": [round(float(q), 5) for q in moment.q],
            "score": moment.score,
            "lives": moment.lives,
            "step": moment.step,
            "game": moment.game,
            "scores": self._game.scores[-_LAST_SCORES:],
            "num_scores": len(self._game.scores),
            "rate": round(rate, 1),
            "viewers": self._num_viewers,
            "problem": self._problem,
            "screen": moment.screen.shape[:2],
            "frame": moment.frame.shape,
            "has_heat": moment.heat is not None,
            "returns": None
            if returns is None
            else {
                "low": returns[0],
                "high": returns[1],
                "bars": [[round(float(p), 4) for p in row] for row in returns[2]],
            },
        }
        return pack(state, moment)


def pack(state: dict[str, object], moment: Moment) -> bytes:
    """uint32 length of the JSON, the JSON, and screen, frame and heat after each other in zlib."""
    text = json.dumps(state).encode()
    pictures = moment.screen.tobytes() + moment.frame.tobytes()
    if moment.heat is not None:
        pictures += moment.heat.tobytes()
    return struct.pack("<I", len(text)) + text + zlib.compress(pictures, 1)
