"""Feature sets of the golden cases, generated element by element (no BLAS, so equal everywhere)."""

import numpy as np


def feats(seed, n, d, shift=0.0, gain=1.0):
    """(n, d) float32 Inception-like features: correlated neighbours, non-negative, sparse."""
    z = np.random.RandomState(seed).standard_normal((n, d))
    y = z + 0.6 * np.roll(z, 1, axis=1)
    y = y + 0.3 * np.roll(z, 5, axis=1)
    j = np.arange(d, dtype=np.int64)
    scale = 0.2 + 0.8 * (((j * 7919) % d) / d)
    mu = 0.6 * (((j * 104729) % d) / d) - 0.1
    return np.maximum((gain * scale) * y + (mu + shift * (j % 2)), 0.0).astype(np.float32)


def case(name, cases):
    """(fake, real) features of a golden case; `cases` is meta["cases"]."""
    if name in ("U", "I"):
        fake, real = case("A", cases)
        return (fake[:1000], real[:1500]) if name == "U" else (real, real)
    c = cases[name]
    fake = feats(c["sf"], c["m"], c["d"], c["shift"], c["gain"])
    return fake, feats(c["sr"], c["n"], c["d"])
