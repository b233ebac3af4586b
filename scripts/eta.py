"""How long a run still takes, estimated from how fast it has been lately."""

import collections

_WINDOW_S = 120.0  # of the newest points that the speed is measured over
_SHORTEST_S = 1.0  # less than this says nothing about the speed


class Eta:
    """Estimates the seconds that are left from points (count, seconds).

    The first step of a run compiles, and steps before learning begins are several times as fast as
    those after it. So only points from `steady_from` on tell how fast the rest will be.

    Args:
      total: the count at the end.
      steady_from: the count from which on the speed is that of the rest; beyond the total, the
        whole run is alike.
    """

    def __init__(self, total: int, steady_from: int):
        self.total = total
        self.steady_from = steady_from if steady_from < total else 0
        self._before: list[tuple[int, float]] = []  # first and last point before `steady_from`
        self._steady: collections.deque[tuple[int, float]] = collections.deque()

    def add(self, count: int, seconds: float) -> None:
        """Note that so much was done at this time (of any clock that only advances)."""
        if count < self.steady_from:
            self._before = [*self._before[:1], (count, seconds)]
            return
        self._steady.append((count, seconds))
        # One point at least as old as the window stays.
        while len(self._steady) > 2 and seconds - self._steady[1][1] >= _WINDOW_S:
            self._steady.popleft()

    def speed(self) -> float | None:
        """Counts a second of late, since learning began; None while that is not known."""
        return _speed(list(self._steady))

    def speed_before(self) -> float | None:
        """Counts a second before `steady_from`; None where that was not measured."""
        return _speed(self._before)

    def left(self) -> float | None:
        """Seconds until the total is reached; None while the speed is not known."""
        speed = self.speed()
        if not speed:
            return None
        return max(0, self.total - self._steady[-1][0]) / speed


def _speed(points: list[tuple[int, float]]) -> float | None:
    if len(points) < 2:
        return None
    (first, began), (last, ended) = points[0], points[-1]
    return (last - first) / (ended - began) if ended - began >= _SHORTEST_S else None


def evaluation(games: int, side_by_side: int, steps: float, steps_per_second: float) -> float:
    """Seconds that the games at a run's end take, with one more for the video.

    Args:
      games: to play; 0 has no video either.
      side_by_side: how many are played at once.
      steps: agent steps of one game.
      steps_per_second: agent steps a second of each game while nothing is learnt.
    """
    if not games:
        return 0.0
    rounds = -(-games // min(games, side_by_side)) + 1
    return rounds * steps / steps_per_second
