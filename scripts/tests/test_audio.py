"""Folders of speech, and their decoding."""

from __future__ import annotations

import json
import math
import struct
import wave
import zipfile
from pathlib import Path

import pytest

from load_test import audio
from load_test.audio import AudioError, decode, load_clips


def write_wav(file: Path, seconds: float, rate: int = 8000, channels: int = 2, silent_seconds: float = 0) -> None:
    """A tone after some silence."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        for at in range(round(seconds * rate)):
            value = 0 if at < silent_seconds * rate else round(8000 * math.sin(at * 2 * math.pi * 440 / rate))
            out.writeframesraw(struct.pack("<h", value) * channels)


def write_manifest(folder: Path, *entries: object) -> None:
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(entry) for entry in entries) + "\n", "utf-8")


def test_any_rate_and_channels_become_16_khz_mono(tmp_path: Path) -> None:
    for rate, channels in ((8000, 2), (16_000, 1), (44_100, 1)):
        write_wav(tmp_path / "tone.wav", 1, rate, channels)
        samples = len(decode(tmp_path / "tone.wav")) // 2
        assert abs(samples - 16_000) < 200, (rate, channels)


def test_a_folder_gives_the_clips_of_a_language_that_fit(tmp_path: Path) -> None:
    for name, seconds in (("short", 1), ("long", 3), ("de", 1), ("noise", 1)):
        write_wav(tmp_path / f"{name}.wav", seconds, silent_seconds=0.5)
    write_manifest(
        tmp_path,
        {"file": "short.wav", "language": "en", "text": "short", "seconds": 1, "kind": "short"},
        {"file": "long.wav", "language": "en", "text": "long"},
        {"file": "de.wav", "language": "de", "text": "kurz"},
        {"file": "noise.wav", "language": None, "text": ""},
    )
    (clip,) = load_clips(tmp_path, "en", longest_seconds=2)
    assert (clip.name, clip.text, clip.seconds) == ("short.wav", "short", 1)
    assert abs(clip.first_speech_sample - 8000) <= 320
    assert [clip.text for clip in load_clips(tmp_path, None, longest_seconds=5)] == ["short", "long", "kurz"]
    with pytest.raises(AudioError, match=r"language fr of at most 5 s .*languages there: de, en"):
        load_clips(tmp_path, "fr", longest_seconds=5)


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"manifest\.jsonl cannot be read: No such file"):
        load_clips(tmp_path, "en", 10)
    write_manifest(tmp_path, {"file": "a.wav", "language": "en", "text": "a"}, {"file": "b.wav"})
    with pytest.raises(AudioError, match=r"manifest\.jsonl:2: expected an object with file, language and text"):
        load_clips(tmp_path, "en", 10)
    write_manifest(tmp_path, {"file": "a.wav", "language": "en", "text": "a"})
    with pytest.raises(AudioError, match=r"a\.wav cannot be decoded"):
        load_clips(tmp_path, "en", 10)
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(AudioError, match=r"a\.wav cannot be decoded"):
        load_clips(tmp_path, "en", 10)


def test_a_wheel_with_other_contents_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for pip only: what it brings must have the known digest."""
    monkeypatch.setenv("WHISPER_CACHE", str(tmp_path / "cache"))

    def bring_another_wheel(command: list[str], **_: object) -> object:
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "other.whl", "w") as wheel:
            wheel.writestr("pytest_audioeval/samples/audio/en/hello.txt", "hello")
        return type("Completed", (), {"returncode": 0})

    monkeypatch.setattr("subprocess.run", bring_another_wheel)
    with pytest.raises(AudioError, match=r"other\.whl has SHA-256 [0-9a-f]{64}, expected"):
        audio.fetch_speech()
    assert list((tmp_path / "cache").iterdir()) == []
