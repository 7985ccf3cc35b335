// decodeContainer on files that the tests encode themselves: formats, live delivery, bounds, damage, cancellation.

import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type EncodeOptions, encodeAudio } from '../../test/encode-audio.ts';
import { encodeWav } from '../../test/wav.ts';
import { WhisperError } from '../core/errors.ts';
import { type ContainerOptions, decodeContainer } from './container.ts';
import { ReaderSlots } from './reader-slots.ts';

const SECONDS = 2;
let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whisper-container-test-'));
});
after(() => rm(folder, { recursive: true, force: true }));

/** A sweep that stays in every codec's band and is alike nowhere, so that a wrong offset shows. */
const sweep = (sampleRate: number, amplitude = 0.4): Float32Array =>
  Float32Array.from(
    { length: sampleRate * SECONDS },
    (_, i) => amplitude * Math.sin(2 * Math.PI * (300 + 250 * (i / sampleRate)) * (i / sampleRate)),
  );

async function* pieces(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function decode(source: AsyncIterable<Uint8Array>, options: ContainerOptions = {}): Promise<Float32Array> {
  const blocks: Float32Array[] = [];
  for await (const block of decodeContainer(source, { spoolFolder: folder, ...options })) blocks.push(block);
  return join32(blocks);
}

function join32(blocks: readonly Float32Array[]): Float32Array {
  const pcm = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) {
    pcm.set(block, at);
    at += block.length;
  }
  return pcm;
}

/** Best correlation within 60 ms of delay, which codecs may add. */
function likeness(pcm: Float32Array, reference: Float32Array): number {
  let best = 0;
  for (let lag = -960; lag <= 960; lag += 4) {
    let [ab, aa, bb] = [0, 0, 0];
    for (let i = 2000; i < Math.min(pcm.length, reference.length) - 2000; i++) {
      const [a, b] = [pcm[i + lag]!, reference[i]!];
      ab += a * b;
      aa += a * a;
      bb += b * b;
    }
    best = Math.max(best, ab / Math.sqrt(aa * bb));
  }
  return best;
}

const rejectsWith = (code: string, promise: Promise<unknown>) =>
  assert.rejects(promise, (error: unknown) => error instanceof WhisperError && error.code === code);

type Format = Omit<EncodeOptions, 'planes'>;
const FORMATS: readonly Format[] = [
  { container: 'wav', encoder: 'pcm_s16le' },
  { container: 'wav', encoder: 'pcm_f32le', sampleRate: 44_100 },
  { container: 'wav', encoder: 'pcm_mulaw', sampleRate: 8000 },
  { container: 'aiff', encoder: 'pcm_s16be' },
  { container: 'flac', encoder: 'flac' },
  { container: 'ogg', encoder: 'libopus', sampleRate: 48_000 },
  { container: 'webm', encoder: 'libopus', sampleRate: 48_000, options: { live: '1' } },
  { container: 'matroska', encoder: 'flac' },
  { container: 'mp3', encoder: 'libmp3lame', sampleRate: 44_100 },
  { container: 'adts', encoder: 'aac', sampleRate: 44_100 },
  { container: 'mp4', encoder: 'aac', sampleRate: 44_100 },
  { container: 'mp4', encoder: 'aac', sampleRate: 44_100, options: { movflags: '+faststart' } },
  { container: 'mp4', encoder: 'aac', sampleRate: 44_100, options: { movflags: '+frag_keyframe+empty_moov', frag_duration: '250000' } },
  { container: 'mpegts', encoder: 'aac', sampleRate: 44_100 },
];

for (const format of FORMATS) {
  const name = `${format.encoder} in ${format.container} ${JSON.stringify(format.options ?? {})}`;
  test(`${name} decodes to what was encoded, as a file and live`, async () => {
    const sampleRate = format.sampleRate ?? 16_000;
    const bytes = await encodeAudio({ ...format, planes: [sweep(sampleRate)] });
    for (const live of [false, true]) {
      const pcm = await decode(pieces(bytes), { live });
      assert.ok(Math.abs(pcm.length / 16_000 - SECONDS) < 0.1, `${pcm.length / 16_000} s, live ${live}`);
      const like = likeness(pcm, sweep(16_000));
      assert.ok(like > 0.95, `likeness ${like}, live ${live}`);
    }
  });
}

test('the length that a container claims is told before its audio, where it claims one', async () => {
  const told = async (format: Format): Promise<number[]> => {
    const sampleRate = format.sampleRate ?? 16_000;
    const seconds: number[] = [];
    const blocks = decodeContainer(pieces(await encodeAudio({ ...format, planes: [sweep(sampleRate)] })), {
      onDuration: (value) => seconds.push(value),
    });
    await blocks.next();
    await blocks.return();
    return seconds;
  };
  for (const [container, encoder] of [
    ['wav', 'pcm_s16le'],
    ['flac', 'flac'],
    ['ogg', 'libopus'],
    ['mp3', 'libmp3lame'],
    ['mp4', 'aac'],
    ['matroska', 'flac'],
  ] as const) {
    const [seconds = 0] = await told({ container, encoder, sampleRate: 48_000 });
    assert.ok(Math.abs(seconds - SECONDS) < 0.1, `${container}: ${seconds}`);
  }
  assert.deepEqual(await told({ container: 'webm', encoder: 'libopus', sampleRate: 48_000, options: { live: '1' } }), []);
});

test('stereo in antiphase is heard', async () => {
  const left = sweep(16_000);
  const bytes = await encodeAudio({ container: 'wav', encoder: 'pcm_s16le', planes: [left, left.map((sample) => -sample)] });
  assert.ok(likeness(await decode(pieces(bytes)), left) > 0.999);
});

test('blocks are of half a second', async () => {
  const lengths: number[] = [];
  for await (const block of decodeContainer(pieces(encodeWav({ sampleRate: 16_000, pcm: new Float32Array(20_000) }))))
    lengths.push(block.length);
  assert.deepEqual(lengths, [8000, 8000, 4000]);
});

test('live audio comes out while the bytes come in, not at the end', async () => {
  const bytes = await encodeAudio({
    container: 'webm',
    encoder: 'libopus',
    sampleRate: 48_000,
    options: { live: '1', cluster_time_limit: '200' },
    planes: [sweep(48_000)],
  });
  let sent = 0;
  let got = 0;
  let worstLag = 0;
  async function* source() {
    for (let at = 0; at < bytes.length; at += 500) {
      // By the time the next piece is asked for, all but what is unfinished of the earlier ones has come out.
      worstLag = Math.max(worstLag, (at / bytes.length) * SECONDS - got / 16_000);
      sent = at;
      yield bytes.subarray(at, at + 500);
    }
  }
  for await (const block of decodeContainer(source(), { live: true })) got += block.length;
  assert.ok(sent > 0 && Math.abs(got / 16_000 - SECONDS) < 0.1);
  assert.ok(worstLag < 0.6, `${worstLag} s behind`);
});

test('the source is pulled no further than the reader reads', async () => {
  const wav = encodeWav({ sampleRate: 16_000, pcm: new Float32Array(16_000 * 60) });
  let pulled = 0;
  async function* source() {
    for await (const piece of pieces(wav, 4096)) {
      pulled += piece.length;
      yield piece;
    }
  }
  const blocks = decodeContainer(source(), { live: true });
  await blocks.next();
  const pulledForFirst = pulled;
  await blocks.return();
  // FFmpeg looks through the first 64 KiB of a WAV file for compressed audio in PCM's clothes.
  assert.ok(pulledForFirst < 100_000, `${pulledForFirst} of ${wav.length} bytes for the first half second`);
});

const BAD: readonly (readonly [string, string, Uint8Array])[] = [
  ['nothing', 'no_audio', new Uint8Array(0)],
  ['one byte', 'undecodable_audio', Uint8Array.of(82)],
  ['text', 'undecodable_audio', Buffer.from('This is not audio. '.repeat(200))],
  ['a WAV header without samples', 'no_audio', encodeWav({ sampleRate: 16_000, pcm: new Float32Array(0) })],
  ['a cut WAV header', 'undecodable_audio', encodeWav({ sampleRate: 16_000, pcm: new Float32Array(0) }).subarray(0, 20)],
  ['a playlist', 'undecodable_audio', Buffer.from('#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n')],
  ['a concat script', 'undecodable_audio', Buffer.from("ffconcat version 1.0\nfile '/etc/hostname'\n")],
  [
    'a session description',
    'undecodable_audio',
    Buffer.from('v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n'),
  ],
];

for (const [name, code, bytes] of BAD) {
  test(`${name} is refused with ${code}`, async () => {
    for (const live of [false, true]) await rejectsWith(code, decode(pieces(bytes, 7), { live }));
  });
}

test('an MP4 that was cut before its index is refused, and leaves no file behind', async () => {
  const bytes = await encodeAudio({ container: 'mp4', encoder: 'aac', sampleRate: 44_100, planes: [sweep(44_100)] });
  for (const live of [false, true]) await rejectsWith('undecodable_audio', decode(pieces(bytes.subarray(0, bytes.length / 2)), { live }));
  assert.deepEqual(await readdir(folder), []);
});

test('audio that is cut or damaged in the middle gives what there is', async () => {
  const flac = await encodeAudio({ container: 'flac', encoder: 'flac', planes: [sweep(16_000)] });
  assert.ok((await decode(pieces(flac.subarray(0, flac.length / 2)))).length > 8000);
  flac.fill(0x55, flac.length / 2, flac.length / 2 + 200);
  assert.ok((await decode(pieces(flac))).length > 16_000);
});

test('too long audio is refused where the limit is passed, too large a file before it is decoded', async () => {
  const wav = encodeWav({ sampleRate: 16_000, pcm: new Float32Array(48_000) });
  await rejectsWith('audio_too_long', decode(pieces(wav), { maxSeconds: 2 }));
  assert.equal((await decode(pieces(wav), { maxSeconds: 3 })).length, 48_000);
  await rejectsWith('payload_too_large', decode(pieces(wav), { maxSpoolBytes: 50_000 }));
  assert.deepEqual(await readdir(folder), []);
});

test('what the source throws comes out, also in the middle', async () => {
  const wav = encodeWav({ sampleRate: 16_000, pcm: new Float32Array(48_000) });
  for (const live of [false, true]) {
    for (const size of [0, 5, 50_000]) {
      async function* source() {
        if (size > 0) yield wav.subarray(0, size);
        throw new WhisperError('payload_too_large', 'too much');
      }
      await rejectsWith('payload_too_large', decode(source(), { live }));
    }
  }
});

test('an abort ends a decoder that waits for bytes, whatever it has seen so far', async () => {
  const webm = await encodeAudio({ container: 'webm', encoder: 'libopus', sampleRate: 48_000, planes: [sweep(48_000)] });
  for (const live of [false, true]) {
    for (const size of [0, 5, 300, 5000]) {
      const controller = new AbortController();
      async function* source() {
        if (size > 0) yield webm.subarray(0, size);
        setImmediate(() => controller.abort());
        await new Promise(() => {});
      }
      await rejectsWith('cancelled', decode(source(), { live, signal: controller.signal }));
    }
  }
  assert.deepEqual(await readdir(folder), []);
});

test('a reader that leaves early frees everything, even while FFmpeg waits for bytes', async () => {
  const webm = await encodeAudio({
    container: 'webm',
    encoder: 'libopus',
    sampleRate: 48_000,
    options: { live: '1' },
    planes: [sweep(48_000)],
  });
  const slots = new ReaderSlots(1);
  async function* source() {
    yield webm.subarray(0, webm.length - 100);
    await new Promise(() => {});
  }
  for (let turn = 0; turn < 3; turn++) {
    const blocks = decodeContainer(source(), { live: true, slots });
    await blocks.next();
    await rejectsWith('overloaded', decode(source(), { live: true, slots }));
    await blocks.return();
    assert.equal(slots.used, 0);
  }
});
