"""Statistics of units against NumPy's own."""

import numpy as np
import pytest

from dqnlab.looking.units import unit_stats


def test_mean_spread_share_and_correlation_are_numpys():
    x = np.random.default_rng(0).normal(size=(50, 3, 4))
    stats = unit_stats(x)
    flat = x.reshape(-1, 4)
    np.testing.assert_allclose(stats.mean, flat.mean(0))
    np.testing.assert_allclose(stats.std, flat.std(0))
    np.testing.assert_allclose(stats.on, (flat > 0).mean(0))
    np.testing.assert_allclose(stats.correlation, np.corrcoef(flat.T), atol=1e-12)


def test_dead_units_and_twins_are_found():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 200))
    x = np.stack([a, -np.abs(b), np.full(200, -2.0), -a + 0.01 * b, b], axis=1)
    stats = unit_stats(x)
    assert stats.dead == pytest.approx(2 / 5)
    assert stats.pairs(above=0.9) == [(0, 3)]
    assert np.isnan(stats.correlation[2]).all()
