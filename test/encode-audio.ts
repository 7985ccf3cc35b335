// Audio files for tests, made in memory by FFmpeg's encoders: any container and codec that node-av carries.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AV_CHANNEL_LAYOUT_MONO,
  AV_CHANNEL_LAYOUT_STEREO,
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_SAMPLE_FMT_FLT,
  AV_SAMPLE_FMT_FLTP,
  AV_SAMPLE_FMT_S16,
  type AVSampleFormat,
  type FFEncoderCodec,
} from 'node-av/constants';
import { Codec, CodecContext, Dictionary, FormatContext, Frame, Packet } from 'node-av/lib';

export interface EncodeOptions {
  /** FFmpeg's name of the container, for instance `webm`. */
  readonly container: string;
  /** FFmpeg's name of the encoder, for instance `libopus`. */
  readonly encoder: string;
  /** @default 16000 */
  readonly sampleRate?: number;
  /** `[channels][samples]`; one or two. */
  readonly planes: readonly Float32Array[];
  /** The container's options, for instance `movflags`. @default none */
  readonly options?: Readonly<Record<string, string>>;
}

/** The whole file. */
export async function encodeAudio(request: EncodeOptions): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'whisper-encode-'));
  const file = join(folder, 'audio');
  const format = new FormatContext();
  const encoder = new CodecContext();
  const packet = new Packet();
  try {
    check(format.allocOutputContext2(null, request.container, file), 'container');
    const codec = Codec.findEncoderByName(request.encoder as FFEncoderCodec);
    if (!codec) throw new Error(`no encoder ${request.encoder}`);
    const { sampleRate = 16_000, planes } = request;
    encoder.allocContext3(codec);
    encoder.sampleRate = sampleRate;
    encoder.sampleFormat = chooseFormat(codec);
    encoder.channelLayout = planes.length === 2 ? AV_CHANNEL_LAYOUT_STEREO : AV_CHANNEL_LAYOUT_MONO;
    encoder.bitRate = 48_000n;
    encoder.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
    check(encoder.open2Sync(codec), 'encoder');
    const stream = format.newStream(null);
    check(stream.codecpar.fromContext(encoder), 'parameters');
    check(await format.openOutput(), 'output');
    check(await format.writeHeader(Dictionary.fromObject({ ...request.options })), 'header');

    packet.alloc();
    const drain = async (): Promise<void> => {
      while (encoder.receivePacketSync(packet) >= 0) {
        packet.streamIndex = 0;
        packet.rescaleTs({ num: 1, den: sampleRate }, stream.timeBase);
        check(await format.interleavedWriteFrame(packet), 'packet');
        packet.unref();
      }
    };
    const total = planes[0]!.length;
    const step = encoder.frameSize || 1024;
    for (let at = 0; at < total; at += step) {
      const parts = planes.map((plane) => plane.subarray(at, at + step));
      const frame = Frame.fromAudioBuffer(interleave(parts, encoder.sampleFormat), {
        nbSamples: parts[0]!.length,
        format: encoder.sampleFormat,
        sampleRate,
        channelLayout: encoder.channelLayout,
        timeBase: { num: 1, den: sampleRate },
        pts: BigInt(at),
      });
      check(encoder.sendFrameSync(frame), 'frame');
      frame.free();
      await drain();
    }
    encoder.sendFrameSync(null);
    await drain();
    check(await format.writeTrailer(), 'trailer');
    await format.closeOutput();
    return await readFile(file);
  } finally {
    packet.free();
    encoder.freeContext();
    format.freeContext();
    await rm(folder, { recursive: true, force: true });
  }
}

function chooseFormat(codec: Codec): AVSampleFormat {
  const formats = codec.sampleFormats ?? [AV_SAMPLE_FMT_S16];
  return [AV_SAMPLE_FMT_FLT, AV_SAMPLE_FMT_FLTP, AV_SAMPLE_FMT_S16].find((format) => formats.includes(format)) ?? formats[0]!;
}

/** In the encoder's layout: one plane after the other for planar formats. */
function interleave(planes: readonly Float32Array[], format: AVSampleFormat): Buffer {
  const count = planes[0]!.length;
  const samples = new Float32Array(count * planes.length);
  for (let channel = 0; channel < planes.length; channel++) {
    for (let i = 0; i < count; i++)
      samples[format === AV_SAMPLE_FMT_FLTP ? channel * count + i : i * planes.length + channel] = planes[channel]![i]!;
  }
  if (format !== AV_SAMPLE_FMT_S16) return Buffer.from(samples.buffer);
  return Buffer.from(Int16Array.from(samples, (sample) => Math.round(sample * 32767)).buffer);
}

function check(code: number, what: string): void {
  if (code < 0) throw new Error(`FFmpeg refused the ${what}: ${code}`);
}
