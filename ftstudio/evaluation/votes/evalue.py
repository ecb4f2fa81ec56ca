"""A test of win or loss that stays valid however often one looks: the e-value of a Beta mixture.

Under the null a win is as likely as a loss. The e-value is the likelihood of the votes averaged over all win rates
(a uniform prior, Beta(1, 1)) over their likelihood under the null: a martingale under the null, so that the chance that
it ever reaches 20 is at most 1 in 20 (Ville 1939; Robbins 1970; Ramdas et al. 2023, "Game-theoretic statistics and safe
anytime-valid inference").
"""

from __future__ import annotations

import math

ENOUGH = 20.0  # the e-value at which voting may end
_PRIOR = 1.0
_FARTHEST = 10_000  # votes beyond which nobody will go


def log_e(wins: float, losses: float) -> float:
    """The natural logarithm of the e-value of WINS and LOSSES; the order they came in doesn't matter."""
    n = wins + losses
    mixed = _log_beta(_PRIOR + wins, _PRIOR + losses) - _log_beta(_PRIOR, _PRIOR)
    return mixed + n * math.log(2)


def e_value(wins: int, losses: int) -> float:
    """The evidence of WINS and LOSSES against "as good as each other": 1 says nothing, 20 is enough."""
    return math.exp(min(700.0, log_e(wins, losses)))


def more_votes(wins: int, losses: int) -> int | None:
    """About how many more wins and losses are needed until ENOUGH, would they go on in the same shares.

    0 where it is reached; None without any vote and where it would take more than 10,000: too alike to tell.
    """
    n = wins + losses
    wanted = math.log(ENOUGH)
    if log_e(wins, losses) >= wanted:
        return 0
    if not n or wins == losses:
        return None
    low, high = n, n  # log e grows with n at a fixed share, but for the first few votes
    while log_e(wins / n * high, losses / n * high) < wanted:
        low, high = high, 2 * high
        if low > _FARTHEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = log_e(wins / n * middle, losses / n * middle) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high - n


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
