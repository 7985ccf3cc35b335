// Broken, hostile and mislabelled files, made on the spot: what an upload may hold, and how it may be answered.

import { encodeWav } from './wav.ts';

/**
 * `reject`: an error; `empty-or-reject`: no text, or an error; `partial-or-reject`, `transcribe-or-reject`, `either`: a transcript or an error.
 * The names are those of the corpus's manifest.
 */
export type Expectation = 'reject' | 'empty-or-reject' | 'partial-or-reject' | 'transcribe-or-reject' | 'either';

export interface BadFile {
  readonly name: string;
  readonly bytes: Buffer;
  readonly expect: Expectation;
}

/** A small generator with a fixed seed: the same bytes in every run. */
function randomBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 12_345;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

function changed(bytes: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  change(copy);
  return copy;
}

/** @param speech 16 kHz mono, a second or more */
export function badFiles(speech: Float32Array): BadFile[] {
  const wav = encodeWav({ sampleRate: 16_000, pcm: speech });
  const file = (name: string, expect: Expectation, bytes: Buffer): BadFile => ({ name, expect, bytes });
  return [
    file('no bytes', 'reject', Buffer.alloc(0)),
    file('one byte', 'reject', Buffer.from('R')),
    file('text', 'reject', Buffer.from('This is not audio.\n'.repeat(50))),
    file('an HTML page', 'reject', Buffer.from(`<!doctype html><title>404</title><p>${'Not found. '.repeat(50)}`)),
    file('random bytes', 'reject', randomBytes(65_536)),
    file(
      'a playlist that names a URL',
      'reject',
      Buffer.from('#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n'),
    ),
    file('a concat script that names a file', 'reject', Buffer.from("ffconcat version 1.0\nfile '/etc/passwd'\n")),
    file('a WAV header cut in two', 'reject', wav.subarray(0, 20)),
    file('a WAV header alone', 'empty-or-reject', changed(wav, (copy) => copy.writeUInt32LE(0, 40)).subarray(0, 44)),
    file(
      'a WAV of no channels',
      'reject',
      changed(wav, (copy) => copy.writeUInt16LE(0, 22)),
    ),
    file(
      'a WAV of rate 0',
      'reject',
      changed(wav, (copy) => copy.writeUInt32LE(0, 24)),
    ),
    file(
      'a WAV of rate 4294967295',
      'reject',
      changed(wav, (copy) => copy.writeUInt32LE(0xffff_ffff, 24)),
    ),
    file(
      'a WAV of an unknown codec',
      'reject',
      changed(wav, (copy) => copy.writeUInt16LE(0x7777, 20)),
    ),
    file('a WAV of one sample', 'empty-or-reject', encodeWav({ sampleRate: 16_000, pcm: speech.subarray(0, 1) })),
    file(
      'a WAV that claims ten times its bytes',
      'transcribe-or-reject',
      changed(wav, (copy) => copy.writeUInt32LE((wav.length - 44) * 10, 40)),
    ),
    file('a WAV cut inside a sample', 'partial-or-reject', wav.subarray(0, 44 + Math.floor(wav.length / 4) * 2 + 1)),
  ];
}
