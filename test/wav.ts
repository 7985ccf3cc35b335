// WAV files for tests, read and written without the code under test: PCM 16 bit and float 32 bit, mixed to mono.

import { readFile, writeFile } from 'node:fs/promises';

/** Mono samples, -1 to 1. */
export interface Wav {
  readonly sampleRate: number;
  readonly pcm: Float32Array;
}

const FORMAT_PCM = 1;
const FORMAT_FLOAT = 3;
const HEADER_BYTES = 44;

export async function readWav(file: string): Promise<Wav> {
  const bytes = await readFile(file);
  let [format, channels, sampleRate, bits] = [0, 1, 0, 0];
  for (let at = 12; at + 8 <= bytes.length; ) {
    const id = bytes.toString('latin1', at, at + 4);
    const size = bytes.readUInt32LE(at + 4);
    const body = at + 8;
    if (id === 'fmt ') {
      [format, channels, sampleRate, bits] = [
        bytes.readUInt16LE(body),
        bytes.readUInt16LE(body + 2),
        bytes.readUInt32LE(body + 4),
        bytes.readUInt16LE(body + 14),
      ];
    } else if (id === 'data') {
      const end = Math.min(body + size, bytes.length);
      return { sampleRate, pcm: mixDown(bytes.subarray(body, end), format, bits, channels) };
    }
    at = body + size + (size % 2);
  }
  throw new Error(`${file} has no data chunk`);
}

function mixDown(data: Buffer, format: number, bits: number, channels: number): Float32Array {
  const isFloat = format === FORMAT_FLOAT && bits === 32;
  if (!isFloat && !(format === FORMAT_PCM && bits === 16)) throw new Error(`WAV format ${format} with ${bits} bits is not for tests`);
  const bytesPerFrame = (bits / 8) * channels;
  const pcm = new Float32Array(Math.floor(data.length / bytesPerFrame));
  for (let index = 0; index < pcm.length; index++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) {
      const at = index * bytesPerFrame + channel * (bits / 8);
      sum += isFloat ? data.readFloatLE(at) : data.readInt16LE(at) / 32768;
    }
    pcm[index] = sum / channels;
  }
  return pcm;
}

/** The bytes of a 16-bit mono WAV file. */
export function encodeWav({ sampleRate, pcm }: Wav): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES + pcm.length * 2);
  bytes.write('RIFF', 0, 'latin1');
  bytes.writeUInt32LE(bytes.length - 8, 4);
  bytes.write('WAVEfmt ', 8, 'latin1');
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(FORMAT_PCM, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(sampleRate, 24);
  bytes.writeUInt32LE(sampleRate * 2, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write('data', 36, 'latin1');
  bytes.writeUInt32LE(pcm.length * 2, 40);
  for (let index = 0; index < pcm.length; index++) {
    const level = Math.max(-1, Math.min(1, pcm[index]));
    bytes.writeInt16LE(Math.round(level * 32767), HEADER_BYTES + index * 2);
  }
  return bytes;
}

export const writeWav = (file: string, wav: Wav): Promise<void> => writeFile(file, encodeWav(wav));

/** Pieces one after the other, each followed by a pause. All must have the first one's rate. */
export function joinWavs(pieces: readonly Wav[], pauseSeconds: number): Wav {
  const sampleRate = pieces[0]?.sampleRate ?? 16_000;
  const pauseSamples = Math.round(pauseSeconds * sampleRate);
  const pcm = new Float32Array(pieces.reduce((total, piece) => total + piece.pcm.length + pauseSamples, 0));
  let at = 0;
  for (const piece of pieces) {
    if (piece.sampleRate !== sampleRate) throw new Error(`expected ${sampleRate} Hz, got ${piece.sampleRate}`);
    pcm.set(piece.pcm, at);
    at += piece.pcm.length + pauseSamples;
  }
  return { sampleRate, pcm };
}
