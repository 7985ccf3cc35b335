"""What one stream sent and heard, and the figures that follow from it. It knows no socket and no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from .audio import SAMPLE_RATE
from .ledger import CoverageLedger
from .plan import FRAME_SAMPLES, FRAME_SECONDS, StreamPlan
from .word_errors import join_finals


class StreamObserver(Protocol):
    """Told while the stream goes on."""

    def word_final(self, milliseconds: float) -> None: ...

    def first_text(self, milliseconds: float) -> None: ...


class Transcript(NamedTuple):
    """What was said and what was heard, as far as whole clips were sent."""

    reference: str
    hypothesis: str


class StreamRecord:
    """Moments are seconds of one steady clock; places in the stream are seconds of audio."""

    def __init__(self, plan: StreamPlan, observer: StreamObserver) -> None:
        self.ledger = CoverageLedger()
        self.transcribed_seconds = 0.0
        # the code of the `error` message, `going_away`, or None
        self.error: str | None = None
        self.retry_after_seconds: float | None = None
        self.has_ended = False
        self._plan = plan
        self._observer = observer
        self._sent_at: list[float] = []
        self._has_text = False
        self._texts: list[str] = []
        self._words: list[tuple[float, str]] = []

    @property
    def sent_samples(self) -> int:
        return min(len(self._sent_at) * FRAME_SAMPLES, self._plan.sample_count)

    @property
    def was_refused(self) -> bool:
        """Not taken in. In the middle of a stream it would be no refusal but a loss."""
        return self.error == "overloaded" and self.ledger.covered_seconds == 0 and not self._has_text

    def on_sent(self, at: float) -> None:
        """The next frame is handed to the socket."""
        self._sent_at.append(at)

    def on_message(self, message: Mapping[str, Any], at: float) -> None:
        match message["type"]:
            case "transcript":
                self._hear(message["text"], at)
                if message["is_final"]:
                    self._take_final(message, at)
            case "no_speech":
                self.ledger.cover(message["start"], message["end"])
            case "end":
                self.has_ended = True
            case "going_away":
                self.error = "going_away"
            case "error":
                self.error = str(message["code"])
                self.retry_after_seconds = message.get("retry_after")

    def transcript(self) -> Transcript | None:
        """None where no clip was sent to its end."""
        parts = self._plan.parts
        whole = [part for part in parts if part.end_sample <= self.sent_samples]
        if not whole:
            return None
        reference = join_finals(self._plan.language, [part.clip.text for part in whole])
        if len(whole) == len(parts):
            return Transcript(reference, join_finals(self._plan.language, self._texts))
        # It was cut short: what was heard of the clip that was cut does not count.
        boundary = (whole[-1].end_sample + parts[len(whole)].start_sample) / 2 / SAMPLE_RATE
        return Transcript(reference, "".join(word for start, word in self._words if start < boundary).strip())

    def _take_final(self, message: Mapping[str, Any], at: float) -> None:
        self.ledger.cover(message["start"], message["end"])
        if message["text"]:
            self._texts.append(message["text"])
            self.transcribed_seconds += message["end"] - message["start"]
        for word in message.get("words", ()):
            self._words.append((word["start"], word["word"]))
            self._observer.word_final(self._milliseconds_since(word["end"], at))

    def _hear(self, text: str, at: float) -> None:
        if self._has_text or not text.strip():
            return
        self._has_text = True
        if self._plan.first_speech_sample < self.sent_samples:
            self._observer.first_text(self._milliseconds_since((self._plan.first_speech_sample + 1) / SAMPLE_RATE, at))

    def _milliseconds_since(self, place: float, at: float) -> float:
        """From the sending of the frame that holds the last sample before `place`."""
        # A sample at the very end of a frame belongs to it. A word cannot end in audio that was not sent: rounding.
        frame = math.ceil(place / FRAME_SECONDS - 1e-6) - 1
        return (at - self._sent_at[max(0, min(len(self._sent_at) - 1, frame))]) * 1000
