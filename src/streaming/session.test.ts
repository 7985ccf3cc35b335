// The session with scripted speech: what it commits, and the properties that hold whatever comes in.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { hear, layOut, type SpokenWord, scatter, soundIn, synthesize, wordText } from '../../test/scripted-speech.ts';
import { SAMPLE_RATE, toSamples, toSeconds } from '../core/units.ts';
import type { TranscribeRequest, TranscribeResult, Word } from '../engine/transcriber.ts';
import { Session } from './session.ts';
import type { DecodeStep, GateStep, Pace, SessionEvent, SessionOptions, TranscriptEvent } from './session-types.ts';

interface Scene {
  readonly words: readonly SpokenWord[];
  readonly sampleCount: number;
  readonly options: SessionOptions;
  /** Sample positions of finalize, ascending. */
  readonly flushes?: readonly number[];
  /** Length of the n-th frame. */
  readonly frame: (n: number) => number;
  /** Whether answers come at once or only after some more frames. */
  readonly delayed?: boolean;
  /** When the n-th frame is there. */
  readonly pace?: (n: number) => Pace;
  readonly answer?: (request: TranscribeRequest, step: DecodeStep) => TranscribeResult;
  readonly gate?: (step: GateStep) => Float32Array;
  readonly watch?: (session: Session, step: DecodeStep | GateStep) => void;
}

const everyPartial =
  (interval: (n: number) => number) =>
  (n: number): Pace => ({ partialIntervalSamples: interval(n), effort: 'full' });

/** Now with all effort, now with less. */
const changingEffort = (n: number): Pace => ({ partialIntervalSamples: SAMPLE_RATE, effort: scatter(n) < 0.5 ? 'full' : 'reduced' });

/** Runs a whole stream: frames in, every step answered; returns all events. */
function run(scene: Scene): SessionEvent[] {
  const session = new Session(scene.options);
  const events: SessionEvent[] = [];
  const waiting: (GateStep | DecodeStep)[] = [];
  const answer = (step: GateStep | DecodeStep): void => {
    if (step.kind === 'gate') events.push(...session.gateResult(step, scene.gate?.(step) ?? soundIn(step.pcm)));
    else events.push(...session.decodeResult(step, scene.answer?.(step.request, step) ?? hear(scene.words, step.request)));
  };
  const settle = (n: number, answerAll: boolean): void => {
    for (;;) {
      const step = session.next(scene.pace?.(n));
      if (step?.kind === 'emit') events.push(...step.events);
      else if (step !== null) {
        scene.watch?.(session, step);
        waiting.push(step);
      } else if (answerAll && waiting.length > 0) answer(waiting.shift()!);
      else return;
    }
  };
  const flushes = [...(scene.flushes ?? [])];
  let at = 0;
  for (let n = 0; at < scene.sampleCount; n++) {
    const to = Math.min(at + Math.max(1, scene.frame(n)), flushes[0] ?? scene.sampleCount, scene.sampleCount);
    session.push(synthesize(scene.words, at, to));
    at = to;
    while (flushes[0] === at) {
      session.finalize();
      flushes.shift();
    }
    settle(n, !scene.delayed);
    if (scene.delayed && scatter(n) < 0.3 && waiting.length > 0) {
      answer(waiting.shift()!);
      settle(n, false);
    }
  }
  session.end();
  settle(0, true);
  assert.equal(session.next(), null);
  return events;
}

const isFinal = (event: SessionEvent): event is TranscriptEvent => event.kind === 'final';
const committed = (events: readonly SessionEvent[]) => events.filter((event) => event.kind !== 'partial');
const textOf = (events: readonly SessionEvent[]): string =>
  events
    .filter(isFinal)
    .map((event) => event.text)
    .join(' ');

/** All that must hold for the events of any stream. */
function assertLedger(events: readonly SessionEvent[], scene: Scene): void {
  let cursor = 0;
  let cursorSeconds = 0;
  let segmentId = 0;
  let rev = 0;
  const finalized: number[] = [];
  for (const event of events) {
    if (event.kind === 'final' || event.kind === 'no_speech') {
      assert.equal(event.start, cursor, 'spans follow each other');
      assert.equal(toSeconds(event.start), cursorSeconds, 'in seconds too');
      assert.ok(event.end > event.start, 'spans are longer than nothing');
      assert.ok(Number.isInteger(event.end));
      cursor = event.end;
      cursorSeconds = toSeconds(event.end);
    }
    if (event.kind === 'final' || event.kind === 'partial') {
      assert.equal(event.segmentId, segmentId);
      assert.equal(event.rev, ++rev);
      let previousEnd = event.start;
      for (const word of event.words) {
        assert.ok(previousEnd <= word.start && word.start <= word.end && word.end <= event.end, 'words in order inside their segment');
        previousEnd = word.end;
      }
    }
    if (event.kind === 'partial') assert.ok(event.start >= cursor && event.end <= scene.sampleCount);
    if (event.kind === 'final') {
      assert.ok(event.words.length > 0);
      segmentId++;
      rev = 0;
    }
    if (event.kind === 'finalized') {
      assert.equal(event.end, cursor, 'all is committed at a flush');
      finalized.push(event.end);
    }
  }
  assert.equal(cursor, scene.sampleCount, 'the ledger reaches the last sample');
  assert.deepEqual(finalized, scene.flushes ?? []);
  assert.deepEqual(events.at(-1), { kind: 'end', receivedSamples: scene.sampleCount, segmentCount: segmentId });
  assert.equal(events.filter((event) => event.kind === 'end').length, 1);
}

const samples = (lowSeconds: number, highSeconds: number) => fc.integer({ min: toSamples(lowSeconds), max: toSamples(highSeconds) });
const pause = fc.oneof({ arbitrary: samples(0, 0.5), weight: 6 }, { arbitrary: samples(0.5, 7), weight: 1 });
const speech = fc.array(fc.record({ pause, length: samples(0.1, 0.8) }), { maxLength: 60, size: 'max' }).map(layOut);
const options: fc.Arbitrary<SessionOptions> = fc
  .record({
    chunkSamples: samples(1, 25),
    overlapShare: fc.double({ min: 0, max: 0.5, noNaN: true }),
    useContext: fc.boolean(),
    interimResults: fc.boolean(),
    silenceLevelDb: fc.constantFrom(-60, null),
    speechThreshold: fc.constantFrom(0.5, null),
  })
  .map(({ overlapShare, ...rest }) => ({ ...rest, overlapSamples: Math.floor(rest.chunkSamples * overlapShare) }));
const frames = fc.integer({ min: 0, max: 1e6 }).map((seed) => (n: number) => 1 + Math.floor(scatter(seed, n) ** 4 * 3 * SAMPLE_RATE));
const burst = (): number => 1e9;

const scenes: fc.Arbitrary<Scene> = fc
  .record({
    words: speech,
    tail: samples(0, 3),
    options,
    frame: frames,
    flushShares: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }),
    flushAtWindowEnd: fc.boolean(),
  })
  .map(({ words, tail, flushShares, flushAtWindowEnd, ...rest }) => {
    const sampleCount = (words.at(-1)?.end ?? 0) + tail;
    const flushes = flushShares.map((share) => Math.floor(share * sampleCount));
    if (flushAtWindowEnd) flushes.push(rest.options.chunkSamples);
    const possible = [...new Set(flushes)].filter((at) => at > 0 && at <= sampleCount).sort((a, b) => a - b);
    return { ...rest, words, sampleCount, flushes: possible };
  });

/** Times off by up to 200 ms, now and then swapped; a word repeated, a decode without the prefix. */
function noisy(words: readonly SpokenWord[]) {
  const distort = (heard: Word[], request: TranscribeRequest): Word[] => {
    const size = request.pcm.length;
    const shaken = heard.map((word, n): Word => {
      const start = word.start + Math.round((scatter(size, n, 1) - 0.5) * 6400);
      return { ...word, start, end: Math.max(start, word.end + Math.round((scatter(size, n, 2) - 0.5) * 6400)) };
    });
    if (shaken.length > 2 && scatter(size, 3) < 0.2) [shaken[0], shaken[1]] = [shaken[1]!, shaken[0]!];
    if (shaken.length > 0 && scatter(size, 4) < 0.1) return shaken.map((word) => ({ ...word, start: 0, end: size }));
    return scatter(size, 5) < 0.1 ? [] : shaken;
  };
  const unforced = (request: TranscribeRequest) => scatter(request.pcm.length, 6) < 0.2;
  return (request: TranscribeRequest) => hear(words, request, { distort, unforced });
}

const arbitraryGate = (step: GateStep): Float32Array =>
  new Float32Array(Math.ceil(step.pcm.length / 512)).fill(scatter(step.window.end) < 0.6 ? 1 : 0);

describe('any stream', () => {
  test('is covered exactly by finals and no_speech spans, whatever the engine and the gate answer', () => {
    fc.assert(
      fc.property(scenes, fc.boolean(), (scene, delayed) => {
        assertLedger(run({ ...scene, delayed, answer: noisy(scene.words), gate: arbitraryGate }), scene);
      }),
      { numRuns: 150 },
    );
  });

  test('is planned in windows of at most 28 s whose new part is at most chunk + 4 s, with all their samples there', () => {
    fc.assert(
      fc.property(scenes, (scene) => {
        const watch = (session: Session, { window }: DecodeStep | GateStep): void => {
          assert.ok(window.start <= window.committedUntil && window.committedUntil < window.end && window.end <= session.receivedSamples);
          assert.ok(window.end - window.start <= 28 * SAMPLE_RATE);
          assert.ok(window.committedUntil - window.start <= (window.purpose === 'final' ? 5 : 2) * SAMPLE_RATE);
          assert.ok(window.end - window.committedUntil <= scene.options.chunkSamples + 4 * SAMPLE_RATE);
          assert.equal(window.prefix.length > 0, window.start < window.committedUntil);
        };
        run({ ...scene, answer: noisy(scene.words), watch });
      }),
      { numRuns: 60 },
    );
  });

  test('gives the same events paced, with late answers and in one burst', () => {
    fc.assert(
      fc.property(scenes, (scene) => {
        const quiet = { ...scene, options: { ...scene.options, interimResults: false }, answer: noisy(scene.words), gate: arbitraryGate };
        const paced = run(quiet);
        assert.deepEqual(run({ ...quiet, frame: burst }), paced);
        assert.deepEqual(run({ ...quiet, delayed: true }), paced);
      }),
      { numRuns: 60 },
    );
  });

  test('has the same finals with and without partials, however they are paced', () => {
    const withoutRev = (events: readonly SessionEvent[]) =>
      committed(events).map((event) => (isFinal(event) ? { ...event, rev: 0 } : event));
    fc.assert(
      fc.property(scenes, (scene) => {
        const paces = [() => SAMPLE_RATE, (n: number) => (scatter(n) < 0.2 ? Number.POSITIVE_INFINITY : scatter(n, 1) * 8 * SAMPLE_RATE)];
        const [without, ...paced] = [null, ...paces].map((partialInterval) => {
          const options = { ...scene.options, interimResults: partialInterval !== null };
          const pace = partialInterval === null ? {} : { pace: everyPartial(partialInterval) };
          return withoutRev(run({ ...scene, delayed: true, answer: noisy(scene.words), options, ...pace }));
        });
        for (const events of paced) assert.deepEqual(events, without);
      }),
      { numRuns: 60 },
    );
  });
});

describe('an honest engine', () => {
  const honest = scenes.map((scene) => ({
    ...scene,
    options: { ...scene.options, overlapSamples: Math.max(1, scene.options.overlapSamples) },
    flushes: (scene.flushes ?? []).filter((at) => !scene.words.some((word) => word.start < at && at < word.end)),
  }));

  test('has every word committed once, in order, inside a final', () => {
    fc.assert(
      fc.property(honest, fc.boolean(), (scene, delayed) => {
        const events = run({ ...scene, delayed, pace: changingEffort });
        assertLedger(events, scene);
        const expected = scene.words.map((word, index) => ({ text: wordText(index), start: word.start, end: word.end }));
        const heard = events.filter(isFinal).flatMap((event) => event.words.map(({ text, start, end }) => ({ text, start, end })));
        assert.deepEqual(heard, expected);
      }),
      { numRuns: 150 },
    );
  });
});

describe('a session', () => {
  const steady: SpokenWord[] = layOut(Array.from({ length: 60 }, () => ({ pause: 1600, length: 4800 })));
  const usual: SessionOptions = { chunkSamples: 5 * SAMPLE_RATE, overlapSamples: SAMPLE_RATE / 2 };
  const scene: Scene = { words: steady, sampleCount: steady.at(-1)!.end, options: usual, frame: () => 320 };
  const requestsOf = (changed: Partial<Scene>): TranscribeRequest[] => {
    const requests: TranscribeRequest[] = [];
    run({ ...scene, ...changed, watch: (_, step) => step.kind === 'decode' && requests.push(step.request) });
    return requests;
  };

  test('forces the decoder through the words of the last 5 s, 2 s for a partial, and does not without context', () => {
    const [first, , third] = requestsOf({});
    assert.equal(first!.prefixSamples, 0);
    assert.deepEqual([third!.prefixSamples! > 4 * SAMPLE_RATE, third!.prefix!.length > 10], [true, true]);
    const partial = requestsOf({ options: { ...usual, interimResults: true } }).findLast((request) => request.priority === 'partial');
    assert.ok(partial!.prefixSamples! > SAMPLE_RATE && partial!.prefixSamples! <= 2 * SAMPLE_RATE, String(partial!.prefixSamples));
    assert.ok(
      requestsOf({ options: { ...usual, useContext: false } }).every(
        (request) => request.prefixSamples === 0 && request.prefix!.length === 0,
      ),
    );
  });

  test('asks nobody about digital silence, and the transcriber not about sound without speech', () => {
    const silent = { words: [], sampleCount: 60 * SAMPLE_RATE, options: { ...usual, speechThreshold: 0.5 }, frame: () => 320 };
    const steps: string[] = [];
    const watch = (_: Session, step: GateStep | DecodeStep) => void steps.push(step.kind);
    assert.ok(run({ ...silent, watch }).every((event) => event.kind !== 'final'));
    assert.deepEqual(steps, []);
    run({ ...silent, words: steady, gate: (step) => new Float32Array(Math.ceil(step.pcm.length / 512)), watch });
    assert.deepEqual([...new Set(steps)], ['gate']);
  });

  test('does not let the gate lose words that were held back', () => {
    const kinds: string[] = [];
    const gate = (step: GateStep) => new Float32Array(Math.ceil(step.pcm.length / 512)).fill(step.window.committedUntil === 0 ? 1 : 0);
    const events = run({ ...scene, gate, options: { ...usual, speechThreshold: 0.5 }, watch: (_, step) => void kinds.push(step.kind) });
    assert.deepEqual([...new Set(kinds.slice(1))], ['decode']);
    assert.equal(textOf(events), textOf(run(scene)));
  });

  test('decodes a held-back word that a flush leaves less than 0.1 s of', () => {
    const words = [
      { start: toSamples(4.5), end: toSamples(4.97) },
      { start: toSamples(4.97), end: toSamples(5.03) },
    ];
    const events = run({ ...scene, words, sampleCount: toSamples(5.03), options: { ...usual, overlapSamples: 160 } });
    assert.equal(textOf(events), 'w0 w1');
  });

  test('says where nothing was said before, between and after words', () => {
    const words = [
      { start: toSamples(2), end: toSamples(2.5) },
      { start: toSamples(6), end: toSamples(6.5) },
    ];
    const events = run({ ...scene, words, sampleCount: toSamples(9), options: { ...usual, chunkSamples: toSamples(20) } });
    const spans = events.map((event) => ('start' in event ? [event.kind, toSeconds(event.start), toSeconds(event.end)] : event.kind));
    assert.deepEqual(spans, [
      ['no_speech', 0, 2],
      ['final', 2, 2.5],
      ['no_speech', 2.5, 6],
      ['final', 6, 6.5],
      ['no_speech', 6.5, 9],
      'end',
    ]);
  });

  test('keeps held-back words after all when one seems to fill every window', () => {
    let windowCount = 0;
    const answer = (request: TranscribeRequest): TranscribeResult => {
      windowCount++;
      const word = { text: ' mmm', tokens: [1], start: 0, end: request.pcm.length, probability: 0.5 };
      return { ...hear(steady, request), words: [word] };
    };
    const events = run({ ...scene, answer, options: { ...usual, useContext: false } });
    assertLedger(events, scene);
    assert.ok(events.filter(isFinal).every((event) => event.end - event.start <= toSamples(9)));
    assert.ok(windowCount > 5);
  });

  test('drops a word at the seam that a window without context hears again', () => {
    const options = { ...scene.options, useContext: false };
    const answer = (request: TranscribeRequest, { window }: DecodeStep): TranscribeResult => {
      const result = hear(steady, request);
      const before = steady.findLastIndex((word) => word.end <= window.committedUntil);
      const tail = { text: wordText(before).toUpperCase(), tokens: [9], start: 0, end: 1000, probability: 0.3 };
      return before === -1 ? result : { ...result, words: [tail, ...result.words] };
    };
    assert.equal(textOf(run({ ...scene, options, answer })), textOf(run({ ...scene, options })));
  });

  test('drops a word at the seam that a decode without prefix hears again', () => {
    const answer = (request: TranscribeRequest): TranscribeResult => {
      const result = hear(steady, request, { unforced: () => true });
      const seam = request.prefixSamples ?? 0;
      const tail = {
        text: wordText((request.prefix?.at(-1) ?? 0) - 1).toUpperCase(),
        tokens: [9],
        start: seam,
        end: seam + 1000,
        probability: 0.3,
      };
      return seam === 0 ? result : { ...result, words: [tail, ...result.words] };
    };
    assert.equal(textOf(run({ ...scene, answer })), textOf(run(scene)));
  });

  test('fixes the language with the first confident window, and without one after three', () => {
    const detect = (guesses: readonly (readonly [string, number])[]) => {
      let n = 0;
      const language = () => ({ language: guesses[n]![0], probability: guesses[n++]![1] });
      const answer = (request: TranscribeRequest) => hear(steady, request, { language });
      return requestsOf({ answer }).map((request) => request.language);
    };
    assert.deepEqual(
      detect([
        ['de', 0.4],
        ['en', 0.7],
      ]).slice(0, 4),
      [null, null, 'en', 'en'],
    );
    assert.deepEqual(
      detect([
        ['de', 0.4],
        ['en', 0.5],
        ['de', 0.2],
      ]).slice(0, 5),
      [null, null, null, 'de', 'de'],
    );
    assert.ok(requestsOf({ options: { ...usual, language: 'fr' } }).every((request) => request.language === 'fr'));
  });

  test('sends partials at least a second apart that the next final or partial replaces', () => {
    const requests = requestsOf({ options: { ...usual, interimResults: true } });
    assert.deepEqual(
      requests.slice(0, 6).map((request) => request.priority),
      ['partial', 'partial', 'partial', 'partial', 'final', 'partial'],
    );
    const events = run({ ...scene, options: { ...usual, interimResults: true } });
    assertLedger(events, scene);
    assert.ok(events.filter((event) => event.kind === 'partial').length > 10);
  });

  test('sends what it heard after the committed words as draft: what was held back with a final, the newest with a partial', () => {
    const finals: (readonly number[])[][] = [];
    for (const interimResults of [true, false]) {
      const requests = requestsOf({ options: { ...usual, interimResults } });
      assert.deepEqual(requests[0]!.draft, []);
      finals.push(requests.filter(({ priority }) => priority === 'final').map(({ draft }) => draft!));
      for (const request of requests) {
        const committed = request.prefix!.length === 0 ? 0 : request.prefix!.at(-1)!;
        // A cut word comes last, if at all; before it the words go on where the prefix ends.
        const whole = request.draft!.filter((token) => token > 0);
        assert.deepEqual(
          whole,
          whole.map((_, n) => committed + n + 1),
        );
        assert.ok(whole.length >= request.draft!.length - 1);
      }
      const [partial] = requests.filter((request) => request.priority === 'partial').slice(3);
      if (interimResults) assert.ok(partial!.draft!.length >= 7, 'words of the partial before');
    }
    assert.deepEqual(finals[0], finals[1], 'a partial drafted a final');
    assert.ok(finals[0]!.slice(1).some((draft) => draft.length > 0));
  });

  test('starts afresh with its draft when a flush or silence has committed all', () => {
    const flushes = [toSamples(3)];
    const [, , , afterFlush] = requestsOf({ flushes, options: { ...usual, interimResults: true } });
    assert.deepEqual([afterFlush!.prefixSamples! > 0, afterFlush!.draft], [true, []]);
  });

  test('asks for windows of 5 s of context, and with less effort for no search', () => {
    for (const effort of ['full', 'reduced'] as const) {
      const requests = requestsOf({ pace: () => ({ partialIntervalSamples: SAMPLE_RATE, effort }), options: usual });
      const [leftSamples, searches] = [5 * SAMPLE_RATE, effort === 'full'];
      for (const { pcm, prefixSamples, searchUntil } of requests.slice(2, -1)) {
        assert.ok(prefixSamples! <= leftSamples && prefixSamples! > leftSamples - SAMPLE_RATE);
        assert.ok(searches ? searchUntil! > prefixSamples! && searchUntil! < pcm.length : searchUntil === 0);
      }
      const last = requests.at(-1)!;
      assert.equal(last.searchUntil, searches ? last.pcm.length : 0, 'nothing after the end: all that is in doubt is searched');
    }
  });

  test('names its owner in every request', () => {
    assert.ok(requestsOf({ options: { ...usual, owner: 'stream-1' } }).every((request) => request.owner === 'stream-1'));
  });

  test('spaces partials as it is told, but for the first; none when there is no room', () => {
    const endsOf = (partialInterval: (n: number) => number, words = steady) => {
      const ends: number[] = [];
      const options = { ...usual, interimResults: true };
      const watch = (_: Session, { window }: GateStep | DecodeStep) => {
        if (window.purpose === 'partial') ends.push(toSeconds(window.end));
      };
      run({ ...scene, words, sampleCount: words.at(-1)!.end, options, pace: everyPartial(partialInterval), watch });
      return ends;
    };
    assert.deepEqual(endsOf(() => 3 * SAMPLE_RATE).slice(0, 2), [1, 4]);
    assert.deepEqual(
      endsOf(() => Number.POSITIVE_INFINITY),
      [],
    );
    // Rare partials: only the one that shows that somebody listens.
    assert.deepEqual(
      endsOf(() => 30 * SAMPLE_RATE),
      [1],
    );
    // Silence costs nothing: the interval does not count from it.
    const late = steady.map(({ start, end }) => ({ start: start + toSamples(3), end: end + toSamples(3) }));
    assert.equal(endsOf(() => 3 * SAMPLE_RATE, late)[0], 4);
    // Room comes back with the frame of 2.5 s.
    assert.equal(endsOf((n) => (n < 125 ? Number.POSITIVE_INFINITY : SAMPLE_RATE))[0], 2.52);
  });

  test('takes back a partial that came to nothing', () => {
    const answer = (request: TranscribeRequest): TranscribeResult => ({
      ...hear(steady, request),
      ...(request.priority === 'final' && { words: [] }),
    });
    const events = run({ ...scene, answer, options: { ...usual, interimResults: true } });
    assertLedger(events, scene);
    assert.equal(events.filter((event): event is TranscriptEvent => event.kind === 'partial').at(-1)?.text, '');
  });

  test('gives a partial up when the next final window is there, and ignores its late answer', () => {
    const session = new Session({ ...usual, interimResults: true });
    session.push(synthesize(steady, 0, toSamples(2)));
    const partial = session.next();
    assert.ok(partial?.kind === 'decode' && partial.window.purpose === 'partial');
    session.push(synthesize(steady, toSamples(2), toSamples(6)));
    const final = session.next();
    assert.ok(final?.kind === 'decode' && final.window.purpose === 'final');
    assert.deepEqual(session.decodeResult(partial, hear(steady, partial.request)), []);
    assert.equal(session.next(), null);
  });

  test('is over when a final window fails, and goes on when a partial does', () => {
    const session = new Session({ ...usual, interimResults: true });
    session.push(synthesize(steady, 0, toSamples(2)));
    session.stepFailed(session.next() as DecodeStep);
    session.push(synthesize(steady, toSamples(2), toSamples(6)));
    const final = session.next() as DecodeStep;
    assert.equal(final.window.purpose, 'final');
    session.stepFailed(final);
    assert.equal(session.next(), null);
    assert.throws(() => session.push(new Float32Array(1)));
  });

  describe('a decode that passes over speech', () => {
    const withDetector = { ...usual, speechThreshold: 0.5 };
    /** Forced through words before it, the decoder hears one more word and stops. */
    const deaf = (request: TranscribeRequest): TranscribeResult => {
      const result = hear(steady, request);
      return request.prefix!.length === 0 ? result : { ...result, words: result.words.slice(0, 1) };
    };
    const textOf = (events: readonly SessionEvent[]) => events.filter(isFinal).flatMap((event) => event.words.map(({ text }) => text));
    const whole = steady.map((_, index) => wordText(index));

    test('is heard again without the words before, so that nothing is missing', () => {
      const prefixes: number[] = [];
      const watch: Scene['watch'] = (_, step) => step.kind === 'decode' && prefixes.push(step.request.prefix!.length);
      const events = run({ ...scene, options: withDetector, answer: deaf, watch });
      assertLedger(events, { ...scene, options: withDetector });
      assert.deepEqual(textOf(events), whole);
      assert.ok(prefixes.slice(1).includes(0));
    });

    test('is believed where the detector finds no speech, and where there is no detector', () => {
      for (const [options, gate] of [
        [
          withDetector,
          ({ pcm, contextSamples }: GateStep) => (contextSamples > 0 && pcm.length < toSamples(5) ? new Float32Array(200) : soundIn(pcm)),
        ],
        [usual, undefined],
      ] as const) {
        const events = run({ ...scene, options, answer: deaf, ...(gate && { gate }) });
        assertLedger(events, { ...scene, options });
        assert.ok(textOf(events).length < whole.length);
      }
    });

    test('stands as it is where the detector fails', () => {
      const session = new Session(withDetector);
      session.push(synthesize(steady, 0, toSamples(20)));
      const events: SessionEvent[] = [];
      let failed = 0;
      for (let step = session.next(), decoded = false; step !== null; step = session.next()) {
        if (step.kind === 'emit') events.push(...step.events);
        else if (step.kind === 'decode') {
          events.push(...session.decodeResult(step, deaf(step.request)));
          decoded = true;
        } else if (
          decoded &&
          step.window.prefix.length > 0 &&
          step.window.end !== step.window.committedUntil + step.pcm.length - step.contextSamples
        ) {
          events.push(...(session.stepFailed(step) ?? assert.fail('a final was lost')));
          failed++;
        } else events.push(...session.gateResult(step, soundIn(step.pcm)));
      }
      assert.ok(failed > 0 && textOf(events).length > 0);
    });

    test('may leave words without length at the seam: they are heard again, not lost', () => {
      const seam = (request: TranscribeRequest): TranscribeResult => {
        const result = hear(steady, request);
        if (request.prefix!.length === 0) return result;
        const at = request.prefixSamples!;
        return { ...result, words: result.words.slice(0, 1).map((word) => ({ ...word, start: at, end: at })) };
      };
      const events = run({ ...scene, options: withDetector, answer: seam });
      assertLedger(events, { ...scene, options: withDetector });
      assert.deepEqual(textOf(events), whole);
    });
  });

  test('answers finalize where nothing is left, and where less than a word is', () => {
    const session = new Session(usual);
    session.finalize();
    assert.deepEqual(session.next(), { kind: 'emit', events: [{ kind: 'finalized', end: 0 }] });
    session.push(synthesize(steady, 1600, 3000));
    session.finalize();
    assert.deepEqual(session.next(), { kind: 'emit', events: [{ kind: 'no_speech', start: 0, end: 1400 }] });
    assert.deepEqual(session.next(), { kind: 'emit', events: [{ kind: 'finalized', end: 1400 }] });
    session.end();
    assert.deepEqual(session.next(), { kind: 'emit', events: [{ kind: 'end', receivedSamples: 1400, segmentCount: 0 }] });
    assert.throws(() => session.push(new Float32Array(1)));
  });

  test('holds half a minute of an hour-long stream, not more', () => {
    const hour = layOut(Array.from({ length: 3600 }, (_, n) => ({ pause: 4000 + (n % 50 === 0 ? 16_000 : 0), length: 11_000 })));
    let largest = 0;
    const watch = (session: Session) => {
      largest = Math.max(largest, session.bufferCapacity);
    };
    const long = { ...scene, words: hour, sampleCount: hour.at(-1)!.end, frame: () => SAMPLE_RATE / 2, watch };
    // Answers without reading the samples keep this fast: nothing is said.
    const events = run({ ...long, answer: (request) => hear(hour, { ...request, pcm: request.pcm.subarray(0, 0) }) });
    assertLedger(events, long);
    assert.ok(largest <= 2 ** 19, `${largest} samples`);
  });
});
