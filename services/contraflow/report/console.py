"""What a run found, in lines for a terminal, with rich's markup. Model texts are untrusted here too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.markup import escape

from contraflow.events import Effect, Text, TierResult
from contraflow.monitor.live import duration
from contraflow.results import Finding, Results
from contraflow.run_log import RunLog

__all__ = ["COLOURS", "agreement", "counted", "findings_in_lines", "printable", "time_of_running", "warning"]

COLOURS = {"accepted": "green", "rejected": "red"}
_ERROR = 200
_PARTS = 8


def findings_in_lines(results: Results) -> Iterator[str]:
    """The findings, after one line that warns if failures may explain them."""
    groups = results.groups
    claims = sum(map(len, groups))
    findings = f"{counted(len(groups), 'finding')} from " if len(groups) < claims else ""
    differences = counted(claims, "claimed difference")
    yield f"\n[bold]{results.folder.run}[/]: {findings}{differences} ({escape(results.why)})\n"
    if said := warning(results):
        yield f"[yellow]{escape(said)}[/]\n"
    for leading, *parts in groups:
        told = [_part(results, part) for part in parts[:_PARTS]]
        if len(parts) > _PARTS:
            told.append(f"          + {len(parts) - _PARTS} more claims on the same pairs; the report has them")
        yield "\n".join([_lines(leading), *told, ""])


def counted(count: int, what: str) -> str:
    """How many there are of what: ``1 finding``, ``2 findings``."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def warning(results: Results) -> str | None:
    """What to know before believing the claims: which arms' requests failed, and most often of what."""
    if not results.failing:
        return None
    counts = ", ".join(f"{arm} {total.failures} of {total.texts}" for arm, total in results.failing.items())
    errors = _errors(results).most_common(1)
    commonest = "".join(f"; the commonest error: {printable(error)[:_ERROR]}" for error, _ in errors)
    return f"failures may explain these claims: {counts} requests failed{commonest}"


def _errors(results: Results) -> Counter[str]:
    async def count(log: RunLog) -> Counter[str]:
        texts = log.events("texts", Text)
        return Counter([text.error async for text in texts if text.error and text.arm in results.failing])

    return results.read(count)


def _lines(finding: Finding) -> str:
    return f"  {_status(finding)} {escape(printable(finding.statement))}\n            {_counted(finding)}"


def _part(results: Results, finding: Finding) -> str:
    """Another claim on the pairs of the one above, in a line."""
    more = finding.claim.arm if finding.claim.direction > 0 else results.reference
    words = ", ".join(finding.cluster.keywords[:4])
    return f"          + {_status(finding)} more often of '{more}': {escape(printable(words))}   {_counted(finding)}"


def _status(finding: Finding) -> str:
    status = str(finding.verdict.status) if finding.verdict else "open"
    return f"[{COLOURS.get(status, 'yellow')}]{status:<9}[/]"


def _counted(finding: Finding) -> str:
    claim, effect = finding.claim, finding.comparison.effect
    share = f"   {_shares(effect)}" if effect else ""
    reach = "generalises" if claim.generalises else "on the prompts that it was found on"
    return f"{claim.s if claim.direction > 0 else claim.n - claim.s} of {claim.n} discordant pairs{share}   {reach}"


def _shares(effect: Effect) -> str:
    return (
        f"{100 * effect.share:.1f} % against {100 * effect.reference:.1f} % of the answers to uniformly asked prompts "
        f"(difference {100 * effect.difference_low:+.1f} to {100 * effect.difference_high:+.1f} points)"
    )


def agreement(tier: TierResult) -> str:
    """How often a judge picks the arm that a statement names, where it picks one: as far as its answers bound that."""
    from contraflow.statistics.statement import accuracy_bounds  # scipy, which a command line need not wait for

    if not tier.n:
        return f"{tier.tier} picked neither arm, so nothing bounds how often it would pick the named one"
    low, high = accuracy_bounds(tier.n, tier.s)
    return f"{tier.tier} picks the named arm {low:.0%} to {high:.0%} of the time (95 %, whenever judging stopped)"


def time_of_running(seconds: float | None, whole: bool) -> str:
    """How long a run took; "over" that if the journal does not know all of it."""
    return ("" if whole else "over ") + duration(seconds) if seconds is not None else "-"


def printable(text: str) -> str:
    """Without control sequences."""
    return "".join(c if c.isprintable() else " " for c in text)
