"""Errors whose message alone tells the researcher what was wrong and what to do next."""

from __future__ import annotations

__all__ = [
    "BudgetSpent",
    "ConfigurationError",
    "ConsumerError",
    "ContraflowError",
    "Fenced",
    "FormatTooNew",
    "GeneratorError",
    "JudgeAway",
    "LogError",
    "LogUnusable",
    "NotComparable",
    "OutOfRange",
    "PositionsLost",
    "ProviderDown",
    "ProviderUnusable",
    "RunConflict",
    "TooEarly",
]


class ContraflowError(Exception):
    """The base of everything that contraflow raises on purpose; the command line prints it without a traceback."""


class ConfigurationError(ContraflowError):
    """The experiment, or a file it names, cannot be used as it is written."""


class ConsumerError(ConfigurationError):
    """A consumer of your own is not found, is declared wrongly, hangs, or returns something else than it declares.

    A consumer may raise it itself: then it stops, and nothing of the batch is committed.
    """


class RunConflict(ContraflowError):
    """The run folder belongs to another experiment, or its configuration has changed."""


class NotComparable(ContraflowError):
    """Two runs have nothing in common that a comparison could be made over."""


class LogError(ContraflowError):
    """The log cannot be read or written."""


class LogUnusable(LogError):
    """The log holds something, or lacks something, that no restart can mend."""


class OutOfRange(LogUnusable):
    """What is to be read next was dropped by retention."""


class PositionsLost(LogUnusable):
    """A service has written output, and where it had read to is not known any more."""


class FormatTooNew(LogUnusable):
    """A log, a state or a cache was written by a newer version of contraflow."""


class Fenced(LogError):
    """A newer owner of this transactional id has started; this one must stop and not restart."""


class GeneratorError(ContraflowError):
    """A generator cannot answer: its model is missing, does not fit, or keeps failing."""


class JudgeAway(ContraflowError):
    """A judge cannot answer now. With ``again`` it may later, and what it was to judge waits; else it stays undecided."""

    again = True


class ProviderDown(JudgeAway):
    """A provider does not answer, or not in time; it may later."""


class ProviderUnusable(JudgeAway):
    """A provider turns every call away until somebody mends a key, a name or an account; the message says which."""


class BudgetSpent(JudgeAway):
    """The next call could pass a budget, so it was not made."""

    again = False


class TooEarly(ContraflowError):
    """What is asked of a run needs more than it has done so far."""
