"""Golden vectors of Whisper from a plain numpy reference, checked against CTranslate2 (dev only; run by hand, results committed).

  python -m venv .cache/golden-venv
  .cache/golden-venv/bin/pip install numpy==2.4.6 scipy==1.17.1 soundfile==0.14.0 faster-whisper==1.2.1 pytest-audioeval==0.1.3
  .cache/golden-venv/bin/python test/golden/make_golden.py base=MODEL_DIR tiny.en=MODEL_DIR

MODEL_DIR holds the CTranslate2 files model.bin, config.json, tokenizer.json, vocabulary.txt (`whisper-streaming models path base`).
The reference computes in float32 from the float16 weights, as `openai/whisper` does: audio (not features) is padded with zeros.
The script stops if its encoder or decoder differs from CTranslate2's float32 by more than the tolerances that it writes.

Output, beside this script:
  quick_brown_fox.s16le   the clip en/quick_brown_fox.wav of pytest-audioeval (MIT, licence in README.md): mono PCM, 16 kHz, 16 bits, little endian.
                   The reference input is sample / 32768 as float32, followed by zeros up to the window's length.
  MODEL.json       {
    model, weightsSha256, clip, clipSamples, sampleRate,
    tolerance: { logMel, encoder, cross, logits, alignment }     largest absolute difference for a float32 implementation
    int8: { encoderCosine, logits }                              what CTranslate2 int8 does: the order of size to expect of int8
    greedy: { tokens, text }                                     greedy decode of the 30 s window after decoder.start (ends with <|endoftext|>)
    words: [{ text, start, end, probability }]                   faster-whisper float32, beam 5, seconds
    windows: [{ seconds: 30 | 7, samples,
      logMel:  { bins, frames, atBins, atFrames, values[bin][frame], mean, deviation, minimum, maximum }
      encoder: { positions, width, atPositions, atChannels, values[position][channel], mean, deviation }   after the last layer norm
      cross:   [{ layer, name: 'k' | 'v', atPositions, atHeads, atChannels, values[head][position][channel] }]  with biases, no scaling
      decoder: { tokens, startLength, steps: [{ index, top: [[token, logit] x 20], logSumExp, mean }] }
               tokens are forced; index i: the logits that predict tokens[i + 1], raw (no suppression, no soft-max)
      alignment: { heads: [[layer, head]], atTokens, atPositions, values[head][token][position] }           q.k / sqrt(headDim), no soft-max
    }] }
  `mean`, `deviation` are over the whole tensor, so that a wrong region off the grid shows.
"""
import hashlib, json, sys
from pathlib import Path

import ctranslate2
import numpy as np
from scipy.special import erf

HERE = Path(__file__).parent
RATE = 16000
TOLERANCE = {"logMel": 1e-4, "encoder": 2e-3, "cross": 5e-3, "logits": 2e-3, "alignment": 5e-3}
SPECIAL = {"base": [50258, 50259, 50359, 50363], "tiny.en": [50257, 50362]}
DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_weights(path):
    """CTranslate2 model.bin -> {name: array}; float16 becomes float32."""
    data, at, out = path.read_bytes(), 0, {}

    def number(kind):
        nonlocal at
        value = np.frombuffer(data, kind, 1, at)[0]
        at += value.nbytes
        return int(value)

    def string():
        nonlocal at
        length = number("<u2")
        at += length
        return data[at - length:at - 1].decode()

    number("<u4"), string(), number("<u4")
    for _ in range(number("<u4")):
        name = string()
        shape = [number("<u4") for _ in range(number("u1"))]
        kind, size = DTYPES[number("u1")], number("<u4")
        array = np.frombuffer(data, kind, size // np.dtype(kind).itemsize, at).reshape(shape)
        out[name] = array.astype(np.float32) if kind == np.float16 else array
        at += size
    for _ in range(number("<u4")):
        alias, name = string(), string()
        out[alias] = out[name]
    return out


class Whisper:
    """Encoder and decoder for one window; x is [positions, width]."""

    def __init__(self, weights):
        self.w = weights
        self.heads = int(weights["encoder/num_heads"])
        count = lambda side: 1 + max(int(k.split("/")[1][6:]) for k in weights if k.startswith(side + "/layer_") and k.split("/")[1][6:].isdigit())
        self.encoder_layers, self.decoder_layers = count("encoder"), count("decoder")

    def linear(self, x, path):
        y = x @ self.w[path + "/weight"].T
        return y + self.w[path + "/bias"] if path + "/bias" in self.w else y

    def norm(self, x, path):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + 1e-5) * self.w[path + "/gamma"] + self.w[path + "/beta"]

    def gelu(self, x):
        return (x * 0.5 * (1 + erf(x / np.sqrt(2)))).astype(np.float32)

    def convolve(self, x, path, stride):
        """x [channels, frames] -> [out, frames / stride]; kernel 3, padding 1."""
        padded = np.pad(x, ((0, 0), (1, 1)))
        steps = [padded[:, k:k + x.shape[1]:stride] for k in range(3)]
        weight = self.w[path + "/weight"]
        return sum(weight[:, :, k] @ steps[k] for k in range(3)) + self.w[path + "/bias"][:, None]

    def split(self, x):
        return x.reshape(len(x), self.heads, -1).transpose(1, 0, 2)

    def attend(self, q, k, v, causal=False):
        """[heads, positions, headDim] each; returns the output [positions, width] and the scores before the soft-max."""
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(np.float32(q.shape[-1]))
        masked = scores + np.triu(np.full(scores.shape[1:], -np.inf, np.float32), 1) if causal else scores
        weights = np.exp(masked - masked.max(-1, keepdims=True))
        out = (weights / weights.sum(-1, keepdims=True)) @ v
        return out.transpose(1, 0, 2).reshape(q.shape[1], -1), scores

    def feed_forward(self, x, path):
        return x + self.linear(self.gelu(self.linear(self.norm(x, path + "/ffn/layer_norm"), path + "/ffn/linear_0")), path + "/ffn/linear_1")

    def self_attention(self, x, path, causal):
        q, k, v = np.split(self.linear(self.norm(x, path + "/self_attention/layer_norm"), path + "/self_attention/linear_0"), 3, -1)
        out, _ = self.attend(self.split(q), self.split(k), self.split(v), causal)
        return x + self.linear(out, path + "/self_attention/linear_1")

    def encode(self, mel):
        x = self.gelu(self.convolve(self.gelu(self.convolve(mel, "encoder/conv1", 1)), "encoder/conv2", 2)).T
        x = x + self.w["encoder/position_encodings/encodings"][:len(x)]
        for layer in range(self.encoder_layers):
            x = self.feed_forward(self.self_attention(x, f"encoder/layer_{layer}", False), f"encoder/layer_{layer}")
        return self.norm(x, "encoder/layer_norm")

    def cross(self, encoded):
        """[(k, v)] for each decoder layer, [heads, positions, headDim]."""
        both = [self.linear(encoded, f"decoder/layer_{layer}/attention/linear_1") for layer in range(self.decoder_layers)]
        return [tuple(self.split(part) for part in np.split(b, 2, -1)) for b in both]

    def decode(self, tokens, cross):
        """Logits [tokens, vocabulary] and cross-attention scores, for each layer [heads, tokens, positions]."""
        x, scores = self.w["decoder/embeddings/weight"][tokens] + self.w["decoder/position_encodings/encodings"][:len(tokens)], []
        for layer, (k, v) in enumerate(cross):
            path = f"decoder/layer_{layer}"
            x = self.self_attention(x, path, True)
            q = self.split(self.linear(self.norm(x, path + "/attention/layer_norm"), path + "/attention/linear_0"))
            out, raw = self.attend(q, k, v)
            scores.append(raw)
            x = self.feed_forward(x + self.linear(out, path + "/attention/linear_2"), path)
        return self.norm(x, "decoder/layer_norm") @ self.w["decoder/projection/weight"].T, scores


def log_mel(pcm, bins):
    """[bins, samples / 160], by faster-whisper's extractor; the same numbers as openai-whisper's log_mel_spectrogram."""
    from faster_whisper.feature_extractor import FeatureExtractor
    return FeatureExtractor(feature_size=bins)(pcm, padding=0)[:, :len(pcm) // 160].astype(np.float32)


def rounded(array, digits=5):
    return np.round(array.astype(np.float64), digits).tolist()


def agree(what, ours, theirs, tolerance):
    difference = float(np.abs(ours - theirs).max())
    print(f"  {what}: largest difference {difference:.2e}, tolerance {tolerance}")
    if not difference <= tolerance:
        sys.exit(f"{what}: the numpy reference and CTranslate2 disagree")


def window(model, theirs, config, pcm, seconds, tokens, start_length):
    samples = seconds * RATE
    padded = np.zeros(samples, np.float32)
    padded[:len(pcm)] = pcm
    mel = log_mel(padded, model.w["encoder/conv1/weight"].shape[1])
    encoded = model.encode(mel)
    agree(f"encoder, {seconds} s", encoded, np.array(theirs.encode(ctranslate2.StorageView.from_array(mel[None])))[0], TOLERANCE["encoder"])
    cross = model.cross(encoded)
    logits, scores = model.decode(tokens, cross)
    at_bins, at_frames = [0, 1, 7, 20, 40, 60, 79], sorted({0, 1, 2, mel.shape[1] - 1, *range(5, mel.shape[1], mel.shape[1] // 40), *range(10, 300, 12)})
    positions, width = encoded.shape
    at_positions = sorted({0, 1, 50, 100, 149, 150, 151, positions // 2, positions - 2, positions - 1})
    at_channels = list(range(0, width, width // 16))
    heads, head_dim = model.heads, width // model.heads
    at_heads, few, at_head_channels = [0, heads - 1], [0, 1, 100, 150, positions - 1], [0, 1, head_dim // 2, head_dim - 1]
    at_tokens = sorted({start_length - 1, start_length, len(tokens) // 2, len(tokens) - 1})
    along = [0, 10, 25, 50, 75, 100, 125, 148, 151, 200, positions - 1]
    steps = []
    for index in sorted({0, start_length - 1, start_length, start_length + 3, len(tokens) - 2, len(tokens) - 1}):
        row = logits[index].astype(np.float64)
        top = np.argsort(-row)[:20]
        peak = row.max()
        steps.append({"index": index, "top": [[int(t), round(float(row[t]), 4)] for t in top],
                      "logSumExp": round(float(peak + np.log(np.exp(row - peak).sum())), 4), "mean": round(float(row.mean()), 4)})
    return {
        "seconds": seconds, "samples": samples,
        "logMel": {"bins": len(mel), "frames": mel.shape[1], "atBins": at_bins, "atFrames": at_frames, "values": rounded(mel[np.ix_(at_bins, at_frames)]),
                   "mean": float(mel.mean()), "deviation": float(mel.std()), "minimum": float(mel.min()), "maximum": float(mel.max())},
        "encoder": {"positions": positions, "width": width, "atPositions": at_positions, "atChannels": at_channels,
                    "values": rounded(encoded[np.ix_(at_positions, at_channels)]), "mean": float(encoded.mean()), "deviation": float(encoded.std())},
        "cross": [{"layer": layer, "name": name, "atPositions": few, "atHeads": at_heads, "atChannels": at_head_channels,
                   "values": rounded(part[np.ix_(at_heads, few, at_head_channels)])} for layer, pair in enumerate(cross) for name, part in zip("kv", pair)],
        "decoder": {"tokens": tokens, "startLength": start_length, "steps": steps},
        "alignment": {"heads": config["alignment_heads"], "atTokens": at_tokens, "atPositions": along,
                      "values": rounded(np.stack([scores[layer][head][np.ix_(at_tokens, along)] for layer, head in config["alignment_heads"]]))},
    }


def golden(name, folder, pcm):
    from faster_whisper import WhisperModel
    folder = Path(folder)
    config, start = json.loads((folder / "config.json").read_text()), SPECIAL[name]
    model = Whisper(read_weights(folder / "model.bin"))
    exact = WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=2)
    padded = np.zeros(30 * RATE, np.float32)
    padded[:len(pcm)] = pcm
    mel = log_mel(padded, model.w["encoder/conv1/weight"].shape[1])
    features = ctranslate2.StorageView.from_array(mel[None])
    hypothesis = exact.model.generate(features, [start], beam_size=1, suppress_blank=True, return_logits_vocab=True)[0]
    text_tokens, end = hypothesis.sequences_ids[0], start[0] - 1
    tokens = start + text_tokens
    print(name, exact.hf_tokenizer.decode(text_tokens))
    windows = [window(model, exact.model, config, pcm, seconds, tokens, len(start)) for seconds in (30, 7)]
    # CTranslate2 writes a huge negative number where a token is suppressed: only the rest is comparable
    rows_of = lambda hypothesis: np.stack([np.array(row).reshape(-1) for row in hypothesis.logits[0]])
    theirs = rows_of(hypothesis)
    ours = model.decode(tokens, model.cross(model.encode(mel)))[0][len(start) - 1:len(start) - 1 + len(theirs)]
    kept = theirs > -1e4
    agree("logits", ours[kept], theirs[kept], TOLERANCE["logits"])
    rough = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)
    a, b = model.encode(mel), np.array(rough.model.encode(features))[0]
    rough_logits = rows_of(rough.model.generate(features, [start], beam_size=1, return_logits_vocab=True)[0])
    both = kept[:len(rough_logits)] & (rough_logits[:len(kept)] > -1e4)
    int8 = {"encoderCosine": round(float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())), 5),
            "logits": round(float(np.abs(rough_logits[:len(kept)] - theirs[:len(rough_logits)])[both].max()), 3)}
    segments, _ = exact.transcribe(pcm, beam_size=5, language="en", word_timestamps=True)
    words = [{"text": w.word, "start": round(float(w.start), 3), "end": round(float(w.end), 3), "probability": round(float(w.probability), 3)}
             for s in segments for w in s.words]
    result = {"model": name, "weightsSha256": hashlib.sha256((folder / "model.bin").read_bytes()).hexdigest(), "clip": "quick_brown_fox.s16le",
              "clipSamples": len(pcm), "sampleRate": RATE, "tolerance": TOLERANCE, "int8": int8,
              "greedy": {"tokens": [*text_tokens, end], "text": exact.hf_tokenizer.decode(text_tokens)}, "words": words, "windows": windows}
    (HERE / f"{name}.json").write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    import soundfile
    from importlib.metadata import files
    clip = next(f for f in files("pytest-audioeval") if str(f).endswith("samples/audio/en/quick_brown_fox.wav"))
    samples, rate = soundfile.read(clip.locate(), dtype="float32")
    assert rate == RATE and samples.ndim == 1
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2")
    (HERE / "quick_brown_fox.s16le").write_bytes(whole.tobytes())
    for pair in sys.argv[1:]:
        golden(*pair.split("=", 1), whole.astype(np.float32) / 32768)


if __name__ == "__main__":
    main()
