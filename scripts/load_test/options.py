"""The load test's options: on Locust's command line and in the form of its web page."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locust.argument_parser import LocustArgumentParser

# A stream that is open when the test ends gets so long to be finalised.
DEFAULT_STOP_TIMEOUT_SECONDS = 60.0

_ON_OFF = ["on", "off"]


@dataclass(frozen=True)
class LoadOptions:
    """Checked once, when a test starts."""

    # ISO 639-1; None: clips of all languages, and the service detects which
    language: str | None
    # seconds of new audio a chunk, 1-25
    chunk_duration: float
    # seconds, 0 up to half a chunk
    overlap: float
    interim_results: bool
    # of the users, 0-1: those that post files
    rest_share: float
    # seconds of audio a stream, at most: it ends where a clip ends
    stream_seconds: float
    api_key: str | None
    audio_folder: Path | None
    refused_is_failure: bool

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}

    def stream_config(self) -> dict[str, Any]:
        """The first message of a stream. Word times are needed to tell how late each word is."""
        return {
            "language": self.language,
            "chunk_duration": self.chunk_duration,
            "overlap": self.overlap,
            "interim_results": self.interim_results,
            "word_timestamps": True,
        }


def add_options(parser: LocustArgumentParser) -> None:
    """Not in a group: Locust shows only the parser's own arguments on its page."""
    add = parser.add_argument
    add(
        "--language",
        default="en",
        metavar="<code>",
        help="Language of the speech, e.g. en; auto: all there are, undeclared",
    )
    add("--chunk-duration", type=float, default=5.0, metavar="<seconds>", help="chunk_duration of the streams, 1-25")
    add("--overlap", type=float, default=0.5, metavar="<seconds>", help="overlap of the streams, 0 up to half a chunk")
    add("--interim-results", choices=_ON_OFF, default="on", help="Whether streams ask for drafts")
    add(
        "--rest-share",
        type=float,
        default=0.1,
        metavar="<0-1>",
        help="Share of the users that post files to /transcribe",
    )
    add("--stream-seconds", type=float, default=30.0, metavar="<seconds>", help="Audio of each stream, at most")
    add(
        "--api-key",
        default="",
        metavar="<key>",
        env_var="WHISPER_LOAD_TEST_API_KEY",
        is_secret=True,
        help="Sent as a bearer token",
    )
    add(
        "--audio-folder",
        default="",
        metavar="<folder>",
        help="Your own speech: a folder with manifest.jsonl, one object a line: file, language, text. "
        "Default: short sentences from PyPI",
    )
    add(
        "--refused-is-failure",
        choices=_ON_OFF,
        default="off",
        help="Whether being refused as the service is full counts as a failure; it is counted apart anyway",
    )
    parser.set_defaults(stop_timeout=DEFAULT_STOP_TIMEOUT_SECONDS)


def read_options(parsed: argparse.Namespace) -> LoadOptions:
    """Raises ValueError, which names the option."""
    language = str(parsed.language).strip().lower()
    options = LoadOptions(
        language=None if language in ("", "auto") else language,
        chunk_duration=float(parsed.chunk_duration),
        overlap=float(parsed.overlap),
        interim_results=parsed.interim_results == "on",
        rest_share=float(parsed.rest_share),
        stream_seconds=float(parsed.stream_seconds),
        api_key=str(parsed.api_key) or None,
        audio_folder=Path(parsed.audio_folder) if parsed.audio_folder else None,
        refused_is_failure=parsed.refused_is_failure == "on",
    )
    _check("--chunk-duration", options.chunk_duration, 1, 25)
    _check("--overlap", options.overlap, 0, options.chunk_duration / 2)
    _check("--rest-share", options.rest_share, 0, 1)
    _check("--stream-seconds", options.stream_seconds, 1, 24 * 3600)
    return options


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name}: expected {least:g} to {most:g}, got {value:g}")
