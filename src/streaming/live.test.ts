// The live driver with a scripted transcriber: order, promises, retries, backpressure and cancellation. No timers run.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { IDLE_LOAD } from '../../test/load.ts';
import { createScriptedTranscriber, layOut, scriptedDetector, synthesize } from '../../test/scripted-speech.ts';
import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE, toSamples } from '../core/units.ts';
import type { TranscribeRequest, Transcriber } from '../engine/transcriber.ts';
import type { StreamEvent } from '../protocol/stream-messages.ts';
import { createLiveSession, type LiveOptions, type LiveParts } from './live.ts';
import { Pacer } from './pacer.ts';

const WORDS = layOut(Array.from({ length: 60 }, (_, n) => ({ pause: n === 30 ? 64_000 : 1600, length: 4800 })));
const SAMPLE_COUNT = WORDS.at(-1)!.end + 8000;

function open(changedOptions: Partial<LiveOptions> = {}, changedParts: Partial<LiveParts> = {}) {
  const events: StreamEvent[] = [];
  const pausesMs: number[] = [];
  const parts: LiveParts = {
    transcriber: createScriptedTranscriber(WORDS),
    speechDetector: scriptedDetector,
    now: () => 0,
    sleep: async (durationMs) => void pausesMs.push(durationMs),
    ...changedParts,
  };
  const options: LiveOptions = {
    chunkDuration: 5,
    overlap: 0.5,
    useContext: true,
    language: 'en',
    task: 'transcribe',
    prompt: '',
    interimResults: false,
    wordTimestamps: false,
    signal: new AbortController().signal,
    onEvent: (event) => void events.push(event),
    ...changedOptions,
  };
  return { live: createLiveSession(parts, options), events, pausesMs };
}

const audio = (fromSeconds: number, toSecond: number) =>
  synthesize(WORDS, toSamples(fromSeconds), Math.min(SAMPLE_COUNT, toSamples(toSecond)));
const finals = (events: readonly StreamEvent[]) => events.filter((event) => event.type === 'transcript' && event.is_final);
const fails = (code: 'overloaded' | 'internal', when: (request: TranscribeRequest, n: number) => boolean): Transcriber => {
  let n = 0;
  return createScriptedTranscriber(WORDS, {
    before: (request) => {
      if (when(request, n++)) throw new WhisperError(code, 'no room');
    },
  });
};
const hanging = () => {
  const signals: AbortSignal[] = [];
  const before = (_: TranscribeRequest, signal?: AbortSignal) => {
    signals.push(signal!);
    return new Promise<void>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
  };
  return { transcriber: createScriptedTranscriber(WORDS, { before }), signals };
};

describe('a live session', () => {
  test('covers the stream in seconds, ends with end, and says the same paced and at once', async () => {
    const texts = [];
    for (const frameSamples of [320, SAMPLE_COUNT]) {
      const { live, events } = open({ interimResults: frameSamples === 320, wordTimestamps: true });
      for (let at = 0; at < SAMPLE_COUNT; at += frameSamples) {
        live.push(synthesize(WORDS, at, Math.min(SAMPLE_COUNT, at + frameSamples)));
        if (at % 16_000 === 0) await turn();
      }
      await live.end();
      await live.done;
      let cursor = 0;
      for (const event of events) {
        if (event.type !== 'no_speech' && !(event.type === 'transcript' && event.is_final)) continue;
        assert.equal(event.start, cursor);
        cursor = event.end;
      }
      assert.equal(cursor, SAMPLE_COUNT / SAMPLE_RATE);
      const last = events.at(-1)!;
      assert.deepEqual(last, { type: 'end', audio_seconds: cursor, segments: finals(events).length });
      assert.ok(events.some((event) => event.type === 'no_speech'));
      texts.push(finals(events).map(({ text, start, end, words }: any) => [text, start, end, words]));
    }
    assert.deepEqual(texts[0], texts[1]);
    assert.equal((texts[0]!.map(([text]) => text).join(' ') as string).split(' ').length, WORDS.length);
  });

  test('resolves finalize after the finalized event, in order, and goes on', async () => {
    const { live, events } = open();
    live.push(audio(0, 2));
    const first = live.finalize();
    live.push(audio(2, 3));
    await Promise.all([first, live.finalize()]);
    assert.deepEqual(
      events.filter((event) => event.type === 'finalized').map((event: any) => event.end),
      [2, 3],
    );
    live.push(audio(3, 9));
    await live.end();
    assert.equal(events.at(-1)!.type, 'end');
  });

  test('measures lag from the receipt of the last sample of a segment', async () => {
    let nowMs = 0;
    const transcriber = createScriptedTranscriber(WORDS, {
      before: () => {
        nowMs += 300;
      },
    });
    const { live, events } = open({}, { now: () => nowMs, transcriber });
    for (let at = 0; at < 5; at += 0.02) {
      live.push(audio(at, at + 0.02));
      nowMs += 20;
    }
    await turn();
    const [final] = finals(events) as any[];
    // Committed up to about 4.4 s: the audio that came after took its time too.
    assert.ok(Math.abs(final.lag - (5 - final.end + 0.3)) < 0.05, `${final.lag} at ${final.end}`);
  });

  test('tries a final again when the engine is overloaded, with growing pauses', async () => {
    const { live, pausesMs, events } = open({}, { transcriber: fails('overloaded', (_, n) => n < 3) });
    live.push(audio(0, 6));
    await live.end();
    assert.deepEqual(pausesMs, [250, 500, 1000]);
    assert.equal(finals(events).length, 2);
  });

  test('ends with the error when a final keeps failing, and skips nothing', async () => {
    const { live, events } = open({}, { transcriber: fails('overloaded', (_, n) => n > 0) });
    live.push(audio(0, 20));
    const flush = live.finalize();
    const drained = live.drained(0);
    const isOverloaded = { code: 'overloaded' };
    await assert.rejects(live.done, isOverloaded);
    await assert.rejects(flush, isOverloaded);
    await assert.rejects(drained, isOverloaded);
    assert.equal(finals(events).length, 1);
    live.push(audio(20, 21));
    await assert.rejects(live.finalize(), { code: 'cancelled' });
  });

  test('does without a partial that fails', async () => {
    const { live, events } = open(
      { interimResults: true },
      { transcriber: fails('internal', (request) => request.priority === 'partial') },
    );
    for (let at = 0; at < 8; at++) {
      live.push(audio(at, at + 1));
      await turn();
    }
    await live.end();
    assert.ok(finals(events).length > 0);
  });

  test('leaves partials out while finals take all of the engine, and shows the first when there is room again', async () => {
    let finalShare = 0.9;
    let nowMs = 0;
    const transcriber = createScriptedTranscriber(WORDS, { load: () => ({ ...IDLE_LOAD, finalShare }) });
    const { live } = open({ interimResults: true }, { transcriber, now: () => nowMs });
    const priorities = () => transcriber.requests.map((request) => request.priority);
    for (let at = 0; at < 4; at++) {
      live.push(audio(at, at + 1));
      await turn();
    }
    assert.deepEqual(priorities(), []);
    finalShare = 0;
    nowMs = 1000;
    live.push(audio(4, 4.5));
    await turn();
    assert.deepEqual(priorities(), ['partial']);
    live.close();
  });

  test('shares a pacer with the sessions beside it, and leaves it when it is over', async () => {
    let nowMs = 0;
    const pacer = new Pacer(
      () => IDLE_LOAD,
      () => (nowMs += 1000),
    );
    const sessions = Array.from({ length: 10 }, () => open({ interimResults: true }, { pacer }).live);
    open({}, { pacer });
    // 10 partials of 0.1 s in 8 % of two engines.
    assert.equal(pacer.intervalSeconds(), 6.25);
    for (const live of sessions.slice(1)) live.close();
    await sessions[0]!.end();
    assert.equal(pacer.intervalSeconds(), 1);
  });

  test('gets all the work when it comes faster than speech, and what the engines have room for when it does not', async () => {
    for (const [atOnce, searches] of [
      [true, true],
      [false, false],
    ] as const) {
      let nowMs = 0;
      const busy = () => ({ ...IDLE_LOAD, finalShare: 0.9 });
      const transcriber = createScriptedTranscriber(WORDS, { load: busy });
      const { live } = open({}, { transcriber, now: () => nowMs });
      for (let at = 0; at < 6; at += 0.5) {
        if (!atOnce) nowMs += 500;
        live.push(audio(at, at + 0.5));
      }
      await live.end();
      assert.equal((transcriber.requests[0]?.searchUntil ?? 0) > 0, searches);
    }
  });

  test('names its stream to the transcriber, each another', async () => {
    const transcriber = createScriptedTranscriber(WORDS);
    for (const owner of ['a', undefined, undefined]) {
      const { live } = open({}, { transcriber, ...(owner && { owner }) });
      live.push(audio(0, 2));
      await live.end();
    }
    const owners = transcriber.requests.map((request) => request.owner);
    assert.equal(owners[0], 'a');
    assert.equal(new Set(owners).size, 3);
  });

  test('aborts a partial when the next final window is there', async () => {
    const { transcriber, signals } = hanging();
    const { live } = open({ interimResults: true }, { transcriber, speechDetector: null });
    live.push(audio(0, 2));
    live.push(audio(2, 6));
    assert.deepEqual(
      signals.map((signal) => signal.aborted),
      [true, false],
    );
    live.close();
    assert.ok(signals[1]!.aborted);
    await live.done;
  });

  test('counts as pending only what waits behind work', async () => {
    const { transcriber } = hanging();
    const waiting = open({ chunkDuration: 25 }).live;
    waiting.push(audio(0, 20));
    assert.equal(waiting.pendingSamples, 0);
    await waiting.drained(0);
    const stuck = open({}, { transcriber, speechDetector: null }).live;
    stuck.push(audio(0, 20));
    assert.equal(stuck.pendingSamples, toSamples(15));
    const drained = stuck.drained(100);
    stuck.close();
    await assert.rejects(drained, { code: 'cancelled' });
    const { live } = open();
    live.push(audio(0, 20));
    assert.ok(live.pendingSamples > 0);
    await live.drained(0);
    assert.equal(live.pendingSamples, 0);
  });

  test('closes when the signal aborts, before and after it began', async () => {
    const aborted = open({ signal: AbortSignal.abort() });
    await aborted.live.done;
    const controller = new AbortController();
    const { live, events } = open({ signal: controller.signal });
    live.push(audio(0, 6));
    controller.abort();
    live.close();
    await live.done;
    await turn();
    assert.deepEqual(events, []);
  });

  test('refuses audio after end, and gives the same promise for a second end', async () => {
    const { live } = open({}, { transcriber: hanging().transcriber });
    live.push(audio(0, 2));
    const ending = live.end();
    assert.equal(live.end(), ending);
    assert.throws(() => live.push(audio(2, 3)), { code: 'invalid_message' });
    live.close();
    await assert.rejects(ending, { code: 'cancelled' });
  });

  test('keeps the order when a listener pushes audio, and ends as internal when it throws', async () => {
    const starts: number[] = [];
    const pushing = open({
      onEvent: (event) => {
        if (!('start' in event)) return;
        starts.push(event.start);
        if (starts.length < 10) pushing.live.push(new Float32Array(toSamples(12)));
      },
    });
    pushing.live.push(new Float32Array(toSamples(12)));
    assert.ok(starts.length > 10);
    assert.deepEqual(
      starts,
      starts.toSorted((a, b) => a - b),
    );
    const throwing = open({
      onEvent: () => {
        throw new Error('listener');
      },
    });
    throwing.live.push(new Float32Array(toSamples(12)));
    await assert.rejects(throwing.live.done, { code: 'internal' });
  });
});
