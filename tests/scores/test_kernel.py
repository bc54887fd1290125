"""The kernel of an outlook's process: what is drawn of it, and whom it concerns."""

import numpy as np

from qnas.scores.kernel import Own


def test_drawn_functions_vary_as_their_kernel_says() -> None:
    """Sums of cosines converge to the radial kernel (Rahimi and Recht, 2007); a shift would move all alike."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=(6, 4)), np.ones(6)])
    own = Own(1, 16.0, 0.5, 2.0, 0.1)
    values = np.array([own.drawn(x, seed) for seed in range(4000)])
    np.testing.assert_allclose(values.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(np.cov(values.T), own(x) - 16, atol=0.08)
    np.testing.assert_allclose(own.diag(x), np.diag(own(x)))
    assert not own(np.column_stack([x[:, :-1], np.zeros(6)])).any()
