// The three systems' protocols behind one shape: what a client says, and what the answers mean. One object for each stream.

import type { ServerMessage } from '../../src/protocol/stream-messages.ts';
import { type EndedWord, spreadWords } from './latency.ts';
import { isService, type SystemName } from './options.ts';

export interface DialectOptions {
  readonly chunkSeconds: number;
  readonly overlapSeconds: number;
  readonly interimResults: boolean;
}

export type DialectEvent =
  | { readonly kind: 'ready' }
  | { readonly kind: 'partial'; readonly text: string }
  | { readonly kind: 'final'; readonly text: string; readonly words: readonly EndedWord[]; readonly receivedMs?: number }
  /** Not taken in; seconds until it may try again. */
  | { readonly kind: 'refused'; readonly reason: string; readonly retryAfterSeconds: number | null }
  | { readonly kind: 'failed'; readonly reason: string }
  /** All has been said. */
  | { readonly kind: 'end' };

export interface Dialect {
  readonly path: string;
  readonly hello: string | null;
  /** Audio may follow `hello` at once. */
  readonly takesAudioAtOnce: boolean;
  readonly end: string | null;
  /** Where the server says no end: the stream is over when nothing came for so long. */
  readonly quietMs: number | null;
  read(message: string, receivedMs: number): readonly DialectEvent[];
  /** What is still owed when the stream is over. */
  flush(): readonly DialectEvent[];
  /** Holes and overlaps in what the answers cover; null where the protocol does not say what they cover. */
  gaps(audioSeconds: number): number | null;
}

function ours({ chunkSeconds, overlapSeconds, interimResults }: DialectOptions): Dialect {
  /** Times on the wire are whole milliseconds. */
  const TOLERANCE_SECONDS = 0.0011;
  let coveredSeconds = 0;
  let holes = 0;
  const cover = (start: number, end: number): void => {
    if (Math.abs(start - coveredSeconds) > TOLERANCE_SECONDS) holes++;
    coveredSeconds = end;
  };
  return {
    path: '/stream',
    hello: JSON.stringify({
      language: 'en',
      chunk_duration: chunkSeconds,
      overlap: overlapSeconds,
      interim_results: interimResults,
      word_timestamps: true,
    }),
    takesAudioAtOnce: true,
    end: '{"type":"end"}',
    quietMs: null,
    read(text) {
      const message = JSON.parse(text) as ServerMessage;
      if (message.type === 'transcript' && !message.is_final) return [{ kind: 'partial', text: message.text }];
      if (message.type === 'transcript') {
        cover(message.start, message.end);
        const words = (message.words ?? []).map(({ word, end }) => ({ word, endSeconds: end }));
        return [{ kind: 'final', text: message.text, words }];
      }
      if (message.type === 'no_speech') cover(message.start, message.end);
      if (message.type === 'end') return [{ kind: 'end' }];
      if (message.type === 'going_away') return [{ kind: 'failed', reason: 'going_away' }];
      if (message.type !== 'error') return [];
      if (message.code !== 'overloaded') return [{ kind: 'failed', reason: message.code }];
      return [{ kind: 'refused', reason: '1013 overloaded', retryAfterSeconds: message.retry_after ?? null }];
    },
    flush: () => [],
    gaps: (audioSeconds) => holes + (Math.abs(coveredSeconds - audioSeconds) > TOLERANCE_SECONDS ? 1 : 0),
  };
}

function naive(): Dialect {
  return {
    path: '/',
    hello: null,
    takesAudioAtOnce: true,
    end: 'end',
    quietMs: null,
    read(text) {
      const message = JSON.parse(text) as { type: 'final' | 'end'; start: number; end: number; text: string };
      if (message.type === 'end') return [{ kind: 'end' }];
      return [{ kind: 'final', text: message.text, words: spreadWords(message.text, message.start, message.end) }];
    },
    flush: () => [],
    gaps: () => null,
  };
}

interface WhisperLiveSegment {
  readonly start: string;
  readonly end: string;
  readonly text: string;
  readonly completed: boolean;
}

/**
 * WhisperLive sends its last segments again and again; one is final when it is `completed`. It never completes the last one: its
 * own client waits until nothing comes and keeps it, which here counts as final from when it last changed.
 */
function whisperLive(): Dialect {
  // Its client's disconnect_if_no_response_for
  const QUIET_MS = 15_000;
  const finals = new Set<string>();
  let open: { segment: WhisperLiveSegment; sinceMs: number } | null = null;
  const final = ({ text, start, end }: WhisperLiveSegment, receivedMs: number): DialectEvent => ({
    kind: 'final',
    text: text.trim(),
    words: spreadWords(text, Number(start), Number(end)),
    receivedMs,
  });
  return {
    path: '/',
    hello: JSON.stringify({
      uid: 'bench',
      language: 'en',
      task: 'transcribe',
      model: 'base',
      use_vad: false,
      audio_format: 'int16',
      send_last_n_segments: 10,
      no_speech_thresh: 0.45,
      clip_audio: false,
      same_output_threshold: 10,
    }),
    takesAudioAtOnce: false,
    end: null,
    quietMs: QUIET_MS,
    read(text, receivedMs) {
      const message = JSON.parse(text) as { status?: string; message?: string | number; segments?: readonly WhisperLiveSegment[] };
      if (message.message === 'SERVER_READY') return [{ kind: 'ready' }];
      if (message.status === 'WAIT') return [{ kind: 'refused', reason: 'WAIT', retryAfterSeconds: Number(message.message) * 60 }];
      if (message.status === 'ERROR') return [{ kind: 'failed', reason: 'ERROR' }];
      const events: DialectEvent[] = [];
      let last: WhisperLiveSegment | null = null;
      for (const segment of message.segments ?? []) {
        if (!segment.completed) last = segment;
        else if (!finals.has(segment.start)) {
          finals.add(segment.start);
          events.push(final(segment, receivedMs));
        }
      }
      const isSame = last !== null && open?.segment.text === last.text && open.segment.start === last.start;
      if (last === null) open = null;
      else if (!isSame) {
        open = { segment: last, sinceMs: receivedMs };
        events.push({ kind: 'partial', text: last.text });
      }
      return events;
    },
    flush: () => (open === null ? [] : [final(open.segment, open.sinceMs)]),
    gaps: () => null,
  };
}

export function createDialect(system: SystemName, options: DialectOptions): Dialect {
  if (isService(system)) return ours(options);
  return system === 'naive' ? naive() : whisperLive();
}
