// One FFmpeg demuxer over a byte source, opened so that it can reach nothing but those bytes.

import { AV_CODEC_ID_NONE, AV_LOG_QUIET, AVDISCARD_ALL, AVMEDIA_TYPE_AUDIO } from 'node-av/constants';
import { Codec, CodecContext, Dictionary, FormatContext, InputFormat, Log, type Packet, type Stream } from 'node-av/lib';
import { WhisperError } from '../core/errors.ts';
import type { ByteSource } from './byte-source.ts';

// FFmpeg's messages quote what is in the file; audio and its tags are personal data.
Log.setLevel(AV_LOG_QUIET);

/**
 * Containers that hold their audio themselves. Playlists (HLS, DASH, concat, SDP ...) name other files and URLs, devices and
 * image readers have no business here, and game formats match random bytes.
 */
const FORMATS =
  'aac,ac3,adts,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,ogg,tta,voc,w64,wav,wv';

/** Enough for any header, little enough not to hold back live audio. */
const LIVE_PROBE_BYTES = 65_536;

export class Demuxer {
  readonly #context = new FormatContext();
  #stream: Stream | null = null;

  /**
   * @param format FFmpeg's name where it is known already, or null to probe the content
   * @throws WhisperError `undecodable_audio`
   */
  async open(source: ByteSource, format: string | null, live: boolean): Promise<void> {
    const context = this.#context;
    context.allocContext();
    const attached = source.attach(context);
    const options = Dictionary.fromObject({
      ...attached.options,
      format_whitelist: FORMATS,
      ...(live ? { probesize: LIVE_PROBE_BYTES } : {}),
    });
    try {
      const code = await context.openInput(attached.url, format === null ? null : InputFormat.findInputFormat(format), options);
      if (code < 0) throw new WhisperError('undecodable_audio', 'The bytes are in no audio format that is known.');
    } finally {
      options.free();
    }
    // Reading on for stream parameters would delay live audio; the decoder finds them out. MPEG-TS and its like need it.
    if (!this.#audioStreams().some((stream) => stream.codecpar.codecId !== AV_CODEC_ID_NONE)) await context.findStreamInfo(null);
    const best = context.findBestStream(AVMEDIA_TYPE_AUDIO);
    this.#stream = (best >= 0 ? context.streams[best] : this.#audioStreams()[0]) ?? null;
    if (this.#stream === null) throw new WhisperError('undecodable_audio', 'The file holds no audio track.');
    for (const stream of context.streams) if (stream.index !== this.#stream.index) stream.discard = AVDISCARD_ALL;
  }

  /** Of the audio track, from the container's header; null where that does not tell. */
  get durationSeconds(): number | null {
    if (this.#stream === null) return null;
    const { num, den } = this.#stream.timeBase;
    const seconds = this.#stream.duration > 0n ? (Number(this.#stream.duration) * num) / den : Number(this.#context.duration) / 1e6;
    return seconds > 0 ? seconds : null;
  }

  /** A decoder of the audio track, opened. @throws WhisperError `undecodable_audio` */
  openDecoder(): CodecContext {
    const stream = this.#stream;
    const codec = stream && Codec.findDecoder(stream.codecpar.codecId);
    if (!stream || !codec) throw new WhisperError('undecodable_audio', 'The audio track is in a codec that is not known.');
    const decoder = new CodecContext();
    decoder.allocContext3(codec);
    decoder.threadCount = 1;
    let code = decoder.parametersToContext(stream.codecpar);
    // Without it the decoder cannot tell how many samples of padding to drop.
    decoder.pktTimebase = stream.timeBase;
    if (code >= 0) code = decoder.open2Sync(codec);
    if (code >= 0) return decoder;
    decoder.freeContext();
    throw new WhisperError('undecodable_audio', `The audio track's ${codec.name ?? 'codec'} parameters are damaged.`);
  }

  /** @returns false at the end; a read error ends the file: what came before it stands */
  async read(packet: Packet): Promise<boolean> {
    for (;;) {
      packet.unref();
      const code = await this.#context.readFrame(packet);
      if (code < 0) return false;
      if (packet.streamIndex === this.#stream?.index) return true;
    }
  }

  /** How long a packet plays, 0 where the container does not tell. */
  secondsOf(packet: Packet): number {
    if (this.#stream === null) return 0;
    const { num, den } = this.#stream.timeBase;
    return (Number(packet.duration) * num) / den;
  }

  /** Not while a read is in progress. The source stays open. */
  async close(): Promise<void> {
    await this.#context.closeInput();
  }

  #audioStreams(): Stream[] {
    return this.#context.streams.filter((stream) => stream.codecpar.codecType === AVMEDIA_TYPE_AUDIO);
  }
}
