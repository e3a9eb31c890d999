"""Writes confseq.json, what `confseq` 0.0.11 itself answers; tests compare with the file.

`confseq` has wheels up to Python 3.10 only and needs numpy < 2 (its source needs the headers of Boost), so it cannot be
beside this project, which needs Python 3.11. To record again:

    python3.10 -m venv /tmp/confseq && /tmp/confseq/bin/pip install confseq==0.0.11 'numpy<2'
    /tmp/confseq/bin/python tests/statistics/record_confseq.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from confseq.betting_strategies import lambda_predmix_eb  # type: ignore[import-not-found]  # see above
from confseq.boundaries import beta_binomial_log_mixture  # type: ignore[import-not-found]
from confseq.predmix import predmix_empbern_twosided_cs, predmix_lower_cs  # type: ignore[import-not-found]

EVERY = 13


def lower(x: Any, alpha: float, population: int | None) -> Any:
    """Confseq's sequence with the variance process of theorem 2, (x_t - mean_{t-1})^2 with mean_0 = 1/2.

    Its ready-made one takes mean_0 = 0 and adds no half observation to the mean.
    """
    mean = (0.5 + np.cumsum(x)) / (np.arange(len(x)) + 2)
    return predmix_lower_cs(
        x,
        v=(x - np.append(0.5, mean[:-1])) ** 2,
        lambdas_fn=lambda y: lambda_predmix_eb(y, truncation=0.5, alpha=alpha),
        psi_fn=lambda weight: -np.log(1 - weight) - weight,
        alpha=alpha,
        N=population,
    )


def empirical_bernstein(x: Any, alpha: float, population: int | None = None) -> dict[str, Any]:
    steps = np.unique(np.append(np.arange(1, len(x) + 1, EVERY), len(x)))
    low, high = lower(x, alpha / 2, population), 1 - lower(1 - x, alpha / 2, population)
    ready_low, ready_high = predmix_empbern_twosided_cs(x, alpha=alpha, truncation=0.5, N=population)
    return {
        "alpha": alpha,
        "population": population,
        "x": x.tolist(),
        "steps": steps.tolist(),
        "theorem_2": np.stack([low, high], axis=1)[steps - 1].tolist(),
        "ready_made": np.stack([ready_low, ready_high], axis=1)[steps - 1].tolist(),
    }


def beta_binomial(n: int, s: int) -> float:
    """The log of the two-sided mixture for a fair coin, under a uniform prior.

    Confseq takes a time to be best at instead of the prior: its a = b = 2 (rho - 1/4), rho = v / (l + log(1 + l)) with
    l = 2 log(1 / alpha). This v gives rho = 3/4, so a = b = 1.
    """
    at = 2 * np.log(1 / 0.05)
    v_opt = 0.75 * (at + np.log(1 + at))
    return float(beta_binomial_log_mixture(s - n / 2, n / 4, v_opt, 0.5, 0.5, 0.05, False))


if __name__ == "__main__":
    rng = np.random.default_rng(11)
    cases = [empirical_bernstein((rng.random(300) < p).astype(int), 0.05) for p in (0.02, 0.3, 0.9)]
    cases.append(empirical_bernstein(np.round(rng.beta(2, 5, 300), 3), 0.01))
    cases.append(empirical_bernstein(rng.permutation(np.arange(240) < 30).astype(int), 0.05, 240))
    counts = [(n, s) for n in (0, 1, 2, 7, 40, 150, 1000) for s in sorted({0, 1, n // 3, n // 2, n}) if s <= n]
    recorded = {
        "empirical_bernstein": cases,
        "beta_binomial": [{"n": n, "s": s, "log": beta_binomial(n, s)} for n, s in counts],
    }
    Path(__file__).with_name("confseq.json").write_text(json.dumps(recorded) + "\n")
