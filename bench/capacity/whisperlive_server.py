"""WhisperLive's own server with its faster_whisper backend on a local model. Benchmarks only. Started by bench/capacity/systems.ts.

  python whisperlive_server.py MODEL_FOLDER PORT batch|single

The package asks torch one thing on this path, whether there is CUDA. A stand-in answers no, instead of gigabytes of CUDA libraries.
"""
import sys, types

torch = types.ModuleType("torch")
torch.cuda = types.SimpleNamespace(is_available=lambda: False)
sys.modules["torch"] = torch

from whisper_live.server import TranscriptionServer

model_folder, port, mode = sys.argv[1:]
MANY = 10**6
TranscriptionServer().run(
    "127.0.0.1", int(port), backend="faster_whisper", faster_whisper_custom_model_path=model_folder,
    single_model=True, batch_enabled=mode == "batch", max_clients=MANY, max_connection_time=MANY)
