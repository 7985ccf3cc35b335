// createRawDecoder: cuts do not matter, values are exact or within tolerance, rates and channels convert.

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { createRawDecoder, type RawEncoding, type RawFormat } from './raw-pcm.ts';

const ENCODINGS = ['pcm_s16le', 'pcm_f32le', 'mulaw', 'alaw'] as const satisfies readonly RawEncoding[];

function decodeInPieces(format: RawFormat, bytes: Uint8Array, cuts: readonly number[]): Float32Array {
  const decoder = createRawDecoder(format);
  const parts: Float32Array[] = [];
  let at = 0;
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    parts.push(decoder.push(bytes.subarray(at, cut)));
    at = cut;
  }
  parts.push(decoder.push(bytes.subarray(at)), decoder.flush());
  decoder.close();
  return join(parts);
}

function join(parts: readonly Float32Array[]): Float32Array {
  const output = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    output.set(part, at);
    at += part.length;
  }
  return output;
}

function sine(sampleRate: number, seconds: number, hertz: number): Float32Array {
  return Float32Array.from({ length: sampleRate * seconds }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / sampleRate));
}

const toBytes = (samples: Float32Array | Int16Array): Uint8Array => new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);

test('the samples do not depend on how the bytes are cut, to the bit', () => {
  const property = fc.property(
    fc.constantFrom(...ENCODINGS),
    fc.constantFrom(8000, 11_025, 16_000, 22_050, 44_100, 48_000),
    fc.integer({ min: 1, max: 3 }),
    fc.uint8Array({ minLength: 0, maxLength: 9000 }),
    fc.array(fc.nat(), { maxLength: 12 }),
    (encoding, sampleRate, channels, bytes, cuts) => {
      const format = { encoding, sampleRate, channels };
      const whole = decodeInPieces(format, bytes, []);
      const cut = decodeInPieces(
        format,
        bytes,
        cuts.map((at) => at % (bytes.length + 1)),
      );
      assert.deepEqual(cut, whole);
      assert.ok(whole.every((sample) => sample >= -1 && sample <= 1));
    },
  );
  fc.assert(property, { numRuns: 200 });
});

test('16 kHz mono is converted exactly, and nothing is held back', () => {
  const decoder = createRawDecoder({ encoding: 'pcm_s16le' });
  assert.deepEqual(
    decoder.push(toBytes(Int16Array.of(0, 1, -1, 16_384, 32_767, -32_768))),
    Float32Array.of(0, 1 / 32768, -1 / 32768, 0.5, 32767 / 32768, -1),
  );
  assert.equal(decoder.flush().length, 0);
});

test('floats that are no sample become silence and loud ones are clamped', () => {
  const decoder = createRawDecoder({ encoding: 'pcm_f32le' });
  assert.deepEqual(
    decoder.push(toBytes(Float32Array.of(Number.NaN, Infinity, -Infinity, 7, -7, 0.25))),
    Float32Array.of(0, 0, 0, 1, -1, 0.25),
  );
});

test('G.711 decodes to the values of the standard', () => {
  const mu = createRawDecoder({ encoding: 'mulaw' }).push(Uint8Array.of(0xff, 0x7f, 0x80, 0x00, 0xfe));
  assert.deepEqual(
    Array.from(mu, (sample) => sample * 32768),
    [0, 0, 32124, -32124, 8],
  );
  const a = createRawDecoder({ encoding: 'alaw' }).push(Uint8Array.of(0xd5, 0x55, 0xaa, 0x2a));
  assert.deepEqual(
    Array.from(a, (sample) => sample * 32768),
    [8, -8, 32256, -32256],
  );
});

test('a dangling partial sample is reported, not decoded', () => {
  const decoder = createRawDecoder({ encoding: 'pcm_s16le', channels: 2 });
  decoder.push(new Uint8Array(4 * 10 + 3));
  assert.equal(decoder.danglingBytes, 3);
  assert.equal(decoder.flush().length, 10);
  assert.equal(decoder.danglingBytes, 3);
  decoder.push(new Uint8Array(1));
  assert.equal(decoder.danglingBytes, 0);
});

for (const sampleRate of [8000, 22_050, 44_100, 48_000]) {
  test(`a tone at ${sampleRate} Hz keeps its length within a sample and its phase within 1 %`, () => {
    const decoded = decodeInPieces({ encoding: 'pcm_f32le', sampleRate }, toBytes(sine(sampleRate, 2, 440)), [12_345]);
    assert.ok(Math.abs(decoded.length - 32_000) <= 1, `${decoded.length} samples`);
    const expected = sine(16_000, 2, 440);
    for (let i = 200; i < 31_800; i++)
      assert.ok(Math.abs(decoded[i] - expected[i]) < 0.005, `sample ${i}: ${decoded[i]}, expected ${expected[i]}`);
  });
}

test('a NaN does not poison what comes after it in the resampler', () => {
  const samples = sine(48_000, 1, 440);
  samples[100] = Number.NaN;
  assert.ok(decodeInPieces({ encoding: 'pcm_f32le', sampleRate: 48_000 }, toBytes(samples), []).every(Number.isFinite));
});

test('equal channels mix to themselves, and close() may be called twice', () => {
  const decoder = createRawDecoder({ encoding: 'pcm_f32le', channels: 2 });
  const mono = sine(16_000, 1, 300);
  const stereo = new Float32Array(2 * mono.length).map((_, i) => mono[i >> 1]);
  assert.deepEqual(join([decoder.push(toBytes(stereo)), decoder.flush()]), mono);
  decoder.close();
  decoder.close();
});
