"""The few lines that say how a run went."""

from __future__ import annotations

from locust.stats import RequestStats, StatsEntry

from . import statistics
from .statistics import POST, STAT, STREAM, Totals

# A tenth of a frame: later than this the generator, not the service, shapes the load.
_LATE_MS = 10


def format_summary(stats: RequestStats, totals: Totals) -> str:
    lines = ["Load test"]
    if totals.sent_seconds > 0 or totals.streams_broken or totals.streams_refused:
        lines += _stream_lines(stats, totals)
    if totals.files_done or totals.files_refused:
        lines += _file_lines(stats, totals)
    if late := _entry(stats, STAT, statistics.LATE):
        p99 = late.get_response_time_percentile(0.99)
        lines.append(f"  generator late     p99 {p99} ms, most {late.max_response_time:.0f} ms")
        if p99 > _LATE_MS:
            lines.append("                     it was late itself: spread the users over more --processes")
    return "\n".join(lines)


def _stream_lines(stats: RequestStats, totals: Totals) -> list[str]:
    ends = f"{totals.streams_done} ended in order, {totals.streams_broken} broken, {totals.streams_refused} refused"
    lines = [f"  streams            {ends}; {totals.sent_seconds:.1f} s of speech"]
    if words := _entry(stats, STREAM, statistics.WORD_FINAL):
        lines.append(f"  word-final latency {_percentiles(words)} ({words.num_requests} words)")
    if first := _entry(stats, STREAM, statistics.FIRST_TEXT):
        lines.append(f"  first text         {_percentiles(first)}")
    lines.append(f"  word errors        {_rate(totals.stream_errors, totals.stream_words)}")
    lines.append(f"  coverage           {totals.lost_seconds:.3f} s lost, {totals.doubled_seconds:.3f} s doubled")
    return lines


def _file_lines(stats: RequestStats, totals: Totals) -> list[str]:
    ends = f"{totals.files_done} done, {totals.files_refused} refused"
    lines = [f"  files              {ends}; {totals.file_seconds:.1f} s of speech"]
    if posts := _entry(stats, POST, statistics.TRANSCRIBE):
        lines.append(f"  file time          {_percentiles(posts)}")
    if speed := _entry(stats, STAT, statistics.REST_SPEED):
        lines.append(f"  real-time factor   p50 {speed.median_response_time / 1000:.3f}")
    lines.append(f"  word errors, files {_rate(totals.file_errors, totals.file_words)}")
    return lines


def _entry(stats: RequestStats, method: str, name: str) -> StatsEntry | None:
    # get() would make an empty one
    return stats.entries.get((name, method))


def _percentiles(entry: StatsEntry) -> str:
    return ", ".join(
        f"p{percent} {entry.get_response_time_percentile(percent / 100) / 1000:.2f} s" for percent in (50, 95, 99)
    )


def _rate(errors: int, words: int) -> str:
    return "no clip was heard to its end" if words == 0 else f"{100 * errors / words:.2f} % of {words} words"
