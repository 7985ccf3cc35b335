"""The naive streaming recipe on faster-whisper, as a WebSocket server. Benchmarks only. Started by bench/capacity/systems.ts.

  python naive_server.py MODEL_FOLDER PORT THREADS BEAM CHUNK_SECONDS OVERLAP_SECONDS

A client sends PCM (s16le, 16 kHz, mono) in binary messages and the text "end". Each chunk of new audio is transcribed together with
the overlap before it, with the text before it as prompt, by one model in one worker thread, first come first served. Answers:
  {"type": "final", "start", "end", "text"} for each segment, {"type": "end"} after the last one
Word times are not asked for: they would cost it time.
"""
import asyncio, json, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from faster_whisper import WhisperModel
from websockets.asyncio.server import serve

RATE, BYTES = 16000, 2
model_folder, port, threads, beam, chunk_seconds, overlap_seconds = sys.argv[1], *map(float, sys.argv[2:])
model = WhisperModel(model_folder, device="cpu", compute_type="int8", cpu_threads=int(threads), local_files_only=True)
worker = ThreadPoolExecutor(1)
chunk, overlap = int(chunk_seconds * RATE), int(overlap_seconds * RATE)


def transcribe(pcm, prompt):
    audio = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    segments, _ = model.transcribe(audio, language="en", beam_size=int(beam), initial_prompt=prompt or None)
    return [(s.start, s.end, s.text.strip()) for s in segments]


async def decode(socket, windows):
    prompt = ""
    while (window := await windows.get()) is not None:
        start, end, pcm = window
        segments = await asyncio.get_running_loop().run_in_executor(worker, transcribe, pcm, prompt)
        prompt = " ".join(text for _, _, text in segments)
        for a, b, text in segments:
            message = {"type": "final", "start": min(start + a, end), "end": min(start + b, end), "text": text}
            await socket.send(json.dumps(message))
    await socket.send(json.dumps({"type": "end"}))


async def stream(socket):
    audio, taken = bytearray(), 0  # `audio` begins `overlap` before the next chunk, or at the stream's start
    first = 0
    windows = asyncio.Queue()
    decoding = asyncio.create_task(decode(socket, windows))

    def cut(stop):
        nonlocal audio, first, taken
        windows.put_nowait((first / RATE, stop / RATE, bytes(audio[: (stop - first) * BYTES])))
        keep = max(0, stop - overlap)
        del audio[: (keep - first) * BYTES]
        first, taken = keep, stop

    async for message in socket:
        if isinstance(message, str):
            break
        audio += message
        while first + len(audio) // BYTES - taken >= chunk:
            cut(taken + chunk)
    if first + len(audio) // BYTES > taken:
        cut(first + len(audio) // BYTES)
    windows.put_nowait(None)
    await decoding


async def main():
    transcribe(bytes(RATE * BYTES), "")
    # A ping that waits behind a long decode is no reason to drop anybody
    async with serve(stream, "127.0.0.1", int(port), ping_interval=None, max_size=None, compression=None):
        print("listening", flush=True)
        await asyncio.Future()


asyncio.run(main())
