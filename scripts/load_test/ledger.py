"""Which seconds of a stream the service has accounted for: finals and spans without speech must tile it exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# Times on the wire are whole milliseconds.
_TOLERANCE_SECONDS = 0.0011


@dataclass(frozen=True)
class Gap:
    """Audio that nothing covers, or that is covered twice."""

    kind: Literal["lost", "doubled"]
    at_seconds: float
    seconds: float


@dataclass
class CoverageLedger:
    """Takes the spans of one stream in the order in which they come."""

    covered_seconds: float = 0.0
    gaps: list[Gap] = field(default_factory=list)

    def cover(self, start: float, end: float) -> None:
        self._lose(until=start)
        doubled = min(end, self.covered_seconds) - start
        if doubled > _TOLERANCE_SECONDS:
            self.gaps.append(Gap("doubled", start, doubled))
        self.covered_seconds = max(self.covered_seconds, end)

    def close(self, sent_seconds: float) -> None:
        """Nothing more will come; so much audio was sent."""
        self._lose(until=sent_seconds)
        invented = self.covered_seconds - sent_seconds
        if invented > _TOLERANCE_SECONDS:
            self.gaps.append(Gap("doubled", sent_seconds, invented))

    def total(self, kind: Literal["lost", "doubled"]) -> float:
        """Seconds."""
        return sum(gap.seconds for gap in self.gaps if gap.kind == kind)

    def _lose(self, until: float) -> None:
        lost = until - self.covered_seconds
        if lost > _TOLERANCE_SECONDS:
            self.gaps.append(Gap("lost", self.covered_seconds, lost))
