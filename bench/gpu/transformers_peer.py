"""PyTorch's transformers Whisper with random weights of a published size: what a batch takes from mel to tokens, and a step of it.

Job as JSON in argv[1], JSON lines out, the last of them {"kind": "done"}; {"kind": "missing"} where it cannot run.
"""

import json
import statistics
import sys
import time

RUNS_SECONDS = 1.0
LEAST_RUNS, MOST_RUNS = 3, 10


def report(**line):
    print(json.dumps(line), flush=True)


def missing(reason):
    report(kind="missing", reason=reason)
    sys.exit(0)


def model_of(shape, positions, dtype, device):
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=shape["vocabularySize"],
        num_mel_bins=shape["melBins"],
        encoder_layers=shape["encoderLayers"],
        decoder_layers=shape["decoderLayers"],
        encoder_attention_heads=shape["heads"],
        decoder_attention_heads=shape["heads"],
        d_model=shape["width"],
        encoder_ffn_dim=4 * shape["width"],
        decoder_ffn_dim=4 * shape["width"],
        max_source_positions=positions,
        max_target_positions=shape["maxTextPositions"],
        pad_token_id=50256,
        bos_token_id=50257,
        eos_token_id=50257,
        decoder_start_token_id=50258,
    )
    with torch.device(device):
        model = WhisperForConditionalGeneration(config)
    return model.to(dtype).eval()


def measure(model, job, batch, positions, dtype, device):
    from transformers.generation import GenerationMixin

    mel = job["shape"]["melBins"]
    features = torch.randn(batch, mel, 2 * positions, dtype=dtype, device=device)
    forced = torch.randint(0, 50257, (batch, job["forcedTokens"]), device=device)
    is_cuda = device == "cuda"

    def run(tokens):
        # The plain loop of generation, not Whisper's own, which would cut audio into segments and decode again what it doubts.
        # As many tokens as asked for, whatever random weights come to; caches of keys and values as they come.
        started = time.perf_counter()
        out = GenerationMixin.generate(
            model,
            input_features=features,
            decoder_input_ids=forced,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            num_beams=1,
            do_sample=False,
        )
        if is_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        decoded = out.shape[1] - forced.shape[1]
        if decoded != tokens:
            raise RuntimeError(f"decoded {decoded} tokens instead of {tokens}")
        return 1000 * seconds

    tokens = job["tokens"]
    first = run(tokens)
    runs = min(MOST_RUNS, max(LEAST_RUNS, int(1000 * RUNS_SECONDS / first)))
    if job["device"] == "cpu":
        runs = 1
    whole, short = [], []
    for _ in range(runs):
        whole.append(run(tokens))
        short.append(run(1))
    run_ms, first_token_ms = statistics.median(whole), statistics.median(short)
    return {
        "runs": runs,
        "runMs": run_ms,
        "firstTokenMs": first_token_ms,
        "stepMs": (run_ms - first_token_ms) / (tokens - 1) if run_ms > first_token_ms else None,
        "steps": tokens - 1,
        "windowMs": run_ms / batch,
        "windowsPerSecond": 1000 * batch / run_ms,
    }


def main(job):
    deadline = time.monotonic() + job["seconds"]
    device = "cpu" if job["device"] == "cpu" else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        missing("torch sees no CUDA device")
    dtype = torch.float16 if device == "cuda" else torch.float32
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    report(
        kind="versions",
        torch=torch.__version__,
        transformers=transformers.__version__,
        device=name,
        dtype=str(dtype).removeprefix("torch."),
    )
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    for shape in job["shapes"]:
        for positions in job["positions"]:
            model = model_of(shape, positions, dtype, device)
            attention = model.config._attn_implementation
            spent = 0.0
            for batch in job["batches"]:
                started = time.monotonic()
                # The batch before, four times as small at least, and its runs.
                if started + 4 * spent > deadline:
                    report(kind="stopped", model=shape["name"], positions=positions, batch=batch, reason="no time was left")
                    break
                try:
                    point = measure(model, {**job, "shape": shape}, batch, positions, dtype, device)
                except Exception as error:
                    report(kind="stopped", model=shape["name"], positions=positions, batch=batch, reason=str(error)[:300])
                    break
                report(kind="peer", model=shape["name"], positions=positions, batch=batch, attention=attention, **point)
                spent = time.monotonic() - started
            del model
            if device == "cuda":
                torch.cuda.empty_cache()
    report(kind="done")


try:
    import torch
    import transformers
except ImportError as error:
    missing(f"not installed: {error}")

transformers.logging.set_verbosity_error()
main(json.loads(sys.argv[1]))
