"""The validator on the log: regions, assignments and texts in; hypotheses, judgments and verdicts out."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from contraflow.errors import JudgeAway
from contraflow.events import Assignment, Control, ControlAction, EventError, Regions, Text, decode
from contraflow.log.protocol import Log, Outgoing, Partition, Record
from contraflow.runtime.drain import Drain
from contraflow.runtime.singleton import Singleton
from contraflow.validator.core import Author, Judge, Step, TextPair, Validator, ValidatorConfig
from contraflow.wire import Wire, arm_of, failed_text, seq_of

__all__ = ["ValidatorService"]


class _Gathering:
    """Assignments and texts by ``seq``, until the Regions that come after them are there."""

    def __init__(self, arms: Sequence[str], processed: int) -> None:
        self._arms = arms
        self._processed = processed
        self._texts: dict[int, dict[str, Text]] = {}
        self._assignments: dict[int, Assignment] = {}

    def add_text(self, text: Text) -> None:
        if text.seq > self._processed:
            self._texts.setdefault(text.seq, {})[text.arm] = text

    def add_assignment(self, assignment: Assignment) -> None:
        if assignment.seq > self._processed:
            self._assignments[assignment.seq] = assignment

    def take(self, last: int) -> list[TextPair] | None:
        """The pairs up to ``last``, without those that failed; None if some have not been read yet."""
        seqs = range(self._processed + 1, last + 1)
        if any(s not in self._assignments or len(self._texts.get(s, ())) < len(self._arms) for s in seqs):
            return None
        self._processed = max(last, self._processed)
        taken = [(self._assignments.pop(seq), self._texts.pop(seq)) for seq in seqs]
        return [self._pair(assignment, texts) for assignment, texts in taken if not assignment.failed]

    def _pair(self, assignment: Assignment, texts: dict[str, Text]) -> TextPair:
        return TextPair(
            seq=assignment.seq,
            request_id=assignment.request_id,
            prompt_id=assignment.prompt_id,
            origin=assignment.origin,
            texts={arm: texts[arm].text for arm in self._arms},
            clusters={arm: assignment.arms[arm].cluster_id for arm in self._arms},
        )


class ValidatorService:
    """Advances the validator to each Regions in turn; after the final one writes the last verdicts and ``done``."""

    def __init__(
        self,
        log: Log,
        wire: Wire,
        config: ValidatorConfig,
        judges: Sequence[Judge],
        drain: Drain,
        author: Author | None = None,
    ) -> None:
        self._wire = wire
        self._config = config
        self._judges = judges
        self._author = author
        self._drain = drain
        self._singleton = Singleton(log, wire, "validator", ["regions", "assignments", "texts"], "hypotheses")
        self._regions: list[Regions] = []

    async def run(self) -> None:
        """Validate until draining is requested."""
        parts, reader = await self._singleton.start()
        config, judges, author = self._config, self._judges, self._author
        self._validator = Validator.load(config, judges, parts, author) if parts else Validator(config, judges, author)
        self._gathering = _Gathering(self._config.arms, self._validator.processed)
        try:
            while not self._drain.requested:
                for record in await self._drain.fetch(reader, 2000):
                    self._take(record)
                await self._advance()
        finally:
            with anyio.CancelScope(shield=True):
                await reader.close()
                await self._singleton.close()

    def _take(self, record: Record) -> None:
        partition, value = Partition(record.topic, record.partition), record.value or b""
        if record.topic == self._wire.topic("regions"):
            regions = decode(value, Regions)
            seq = regions.after_seq + (1 if regions.final else 0)
            if not regions.warm or regions.final:
                self._regions.append(regions)
        else:
            seq = seq_of(record.key)
            if record.topic == self._wire.topic("texts"):
                self._gathering.add_text(self._text(record))
            else:
                self._gathering.add_assignment(decode(value, Assignment))
        self._singleton.backlog.read(partition, record.offset, seq)

    def _text(self, record: Record) -> Text:
        """The text, or one with an error where it cannot be read: the embedder has buried it and closed its pair."""
        try:
            return decode(record.value or b"", Text)
        except EventError as error:
            return failed_text(record.key, arm_of(record), f"the text could not be read: {error}")

    async def _advance(self) -> None:
        while self._regions and not self._drain.requested:
            regions = self._regions[0]
            pairs = self._gathering.take(regions.after_seq)
            if pairs is None:
                return
            self._regions.pop(0)
            if regions.after_seq > self._validator.processed:
                step = await self._drain.within_grace(self._validator.advance(pairs, regions))
                if step is None:  # what was answered is kept by the judges, and the same command goes on
                    return
                await self._commit(step, regions.after_seq)
            if regions.final:
                await self._finish(regions.after_seq)

    async def _finish(self, last: int) -> None:
        """Write the last verdicts, and ``done`` unless statements wait for a judge: then the same command goes on."""
        step = await self._drain.within_grace(self._validator.finish())
        if step is None:
            return
        if step.waits:
            await self._commit(step, last)
            raise JudgeAway(f"{step.waits}. All that was judged is kept; run the same command again to go on")
        await self._commit(step, last + 1, done=True)

    async def _commit(self, step: Step, processed: int, *, done: bool = False) -> None:
        wire = self._wire
        outputs: list[Outgoing] = []
        outputs += [wire.out("hypotheses", h.hypothesis_id, h) for h in step.hypotheses]
        outputs += [wire.out("judgments", j.hypothesis_id, j) for j in step.judgments]
        outputs += [wire.out("verdicts", v.hypothesis_id, v) for v in step.verdicts]
        if done:
            control = Control(run=wire.run, action=ControlAction.DONE, last_seq=processed - 1, why="finished")
            outputs.append(wire.out("control", wire.run, control))
        await self._singleton.commit(outputs, self._validator.dump(), processed)
