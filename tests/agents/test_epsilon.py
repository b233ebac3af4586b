import numpy as np

from agents.runner import epsilon
from agents.settings import Settings


def test_epsilon_waits_falls_linearly_stays_and_is_switched_off():
    settings = Settings(
        learning_starts=100,
        epsilon_initial=0.9,
        epsilon_final=0.1,
        epsilon_decay_steps=200,
        epsilon_off_steps=1_000,
    )
    steps = np.array([0, 100, 150, 300, 999, 1_000, 10**8])
    shares = epsilon(settings, steps)
    np.testing.assert_allclose(shares, [0.9, 0.9, 0.7, 0.1, 0.1, 0.0, 0.0], rtol=1e-6)


def test_epsilon_without_a_decay_changes_right_after_learning_starts():
    settings = Settings(learning_starts=100, epsilon_final=0.0, epsilon_decay_steps=0)
    np.testing.assert_array_equal(epsilon(settings, np.array([100, 101, 10**9])), [1.0, 0.0, 0.0])
