"""faster-whisper behind JSON lines: one request a line on stdin, one answer a line on stdout. Started by bench/main.ts.

  {"op": "load", "model": FOLDER, "threads": 2}                                              -> {"versions": {...}}
  {"op": "transcribe", "file": F, "beam": 5, "language": "en" | null, "words": false, "vad": false}
      -> {"text", "language", "wallSeconds", "cpuSeconds", "words": [{"word", "start", "end"}]}
  {"op": "pcm", "file": F, "out": F}   decodes to raw s16le, 16 kHz, mono                    -> {"samples"}
All settings that are not named here are faster-whisper's defaults; the model runs in int8 on the CPU.
"""
import json, resource, sys, time
from importlib.metadata import version

import numpy as np
from faster_whisper import WhisperModel, decode_audio

model = None


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def load(request):
    global model
    model = WhisperModel(request["model"], device="cpu", compute_type="int8", cpu_threads=request["threads"], local_files_only=True)
    return {"versions": {name: version(name) for name in ("faster-whisper", "ctranslate2", "av", "onnxruntime", "jiwer", "whisper-normalizer")}}


def transcribe(request):
    wall, cpu = time.perf_counter(), cpu_seconds()
    segments, info = model.transcribe(request["file"], beam_size=request["beam"], language=request.get("language"),
                                      word_timestamps=request.get("words", False), vad_filter=request.get("vad", False))
    segments = list(segments)
    return {"text": "".join(s.text for s in segments).strip(), "language": info.language,
            "wallSeconds": time.perf_counter() - wall, "cpuSeconds": cpu_seconds() - cpu,
            "words": [{"word": w.word, "start": float(w.start), "end": float(w.end)} for s in segments for w in s.words or []]}


def pcm(request):
    samples = decode_audio(request["file"], sampling_rate=16000)
    np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tofile(request["out"])
    return {"samples": len(samples)}


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = {"load": load, "transcribe": transcribe, "pcm": pcm}[request["op"]](request)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
