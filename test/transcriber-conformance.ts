// What every Transcriber must do, whatever is behind it. A backend's test calls `transcriberConformance` with its own.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { WhisperError } from '../src/core/errors.ts';
import type { TranscribeRequest, TranscribeResult, Transcriber } from '../src/engine/transcriber.ts';

export interface Subject {
  readonly transcriber: Transcriber;
  /** Speech of several words, at most 30 s, in the language below. */
  readonly pcm: Float32Array;
  readonly language: string;
  /** What it says, as the words of a result joined. */
  readonly text: string;
}

/** @param open a fresh transcriber for each test; it is closed at the end */
export function transcriberConformance(name: string, open: () => Promise<Subject>): void {
  const check = (what: string, body: (subject: Subject) => Promise<void>): void => {
    test(what, async () => {
      const subject = await open();
      try {
        await body(subject);
      } finally {
        await subject.transcriber.close();
      }
    });
  };

  describe(`${name} as a Transcriber`, () => {
    check('says what it is', async ({ transcriber: { info }, language }) => {
      assert.ok(info.name.length > 0);
      assert.equal(typeof info.multilingual, 'boolean');
      assert.ok(info.languages.includes(language));
      assert.equal(new Set(info.languages).size, info.languages.length);
      if (!info.multilingual) assert.deepEqual(info.languages, ['en']);
    });

    check('answers with words in order, inside the audio, whose texts join to the transcript', async (subject) => {
      const result = await transcribe(subject);
      checkResult(result, subject.pcm.length);
      assert.equal(textOf(result), subject.text);
      assert.equal(result.offset, 0);
      assert.equal(result.language, subject.language);
      assert.equal(result.languageProbability, 1);
    });

    check('finds the language where none is given', async (subject) => {
      const result = await transcribe(subject, { language: null });
      checkResult(result, subject.pcm.length);
      assert.ok(subject.transcriber.info.languages.includes(result.language));
    });

    check('leaves the samples and the buffer around them as they were', async (subject) => {
      const padding = 1000;
      const whole = new Float32Array(subject.pcm.length + 2 * padding).fill(0.123);
      whole.set(subject.pcm, padding);
      const before = whole.slice();
      const pcm = whole.subarray(padding, padding + subject.pcm.length);
      const result = await transcribe(subject, { pcm });
      assert.equal(textOf(result), subject.text);
      assert.equal(pcm.length, subject.pcm.length);
      assert.deepEqual(whole, before);
    });

    check('returns only the words after those that it was forced through', async (subject) => {
      const { words } = await transcribe(subject);
      assert.ok(words.length >= 4, 'the conformance clip needs at least four words');
      const known = words.slice(0, Math.floor(words.length / 2));
      const result = await transcribe(subject, {
        prefix: known.flatMap(({ tokens }) => tokens),
        prefixSamples: known.at(-1)?.end as number,
      });
      checkResult(result, subject.pcm.length);
      assert.equal(known.map(({ text }) => text).join('') + textOf(result), subject.text);
    });

    check('answers requests of all priorities at once as it answers one', async (subject) => {
      const priorities = ['file', 'partial', 'final', 'file', 'final'] as const;
      const results = await Promise.all(priorities.map((priority) => transcribe(subject, { priority })));
      for (const result of results) assert.equal(textOf(result), subject.text);
    });

    check('tells its load: times of one window from the start, shares of the last seconds', async (subject) => {
      const idle = subject.transcriber.load();
      assert.ok(idle.engines >= 1 && idle.finalSeconds > 0 && idle.partialSeconds > 0);
      assert.deepEqual(
        [idle.finalShare, idle.partialShare, idle.fileShare, idle.finalDelaySeconds, idle.oldestFinalSeconds],
        [0, 0, 0, 0, 0],
      );
      await Promise.all((['final', 'partial', 'file'] as const).map((priority) => transcribe(subject, { priority, owner: priority })));
      const { engines, fileShare, finalDelaySeconds, finalSeconds, finalShare, partialSeconds, partialShare } = subject.transcriber.load();
      assert.equal(engines, idle.engines);
      for (const share of [finalShare, partialShare, fileShare]) assert.ok(share > 0 && share <= 1);
      assert.ok(finalSeconds > 0 && partialSeconds > 0 && finalDelaySeconds >= finalSeconds);
    });

    check('rejects an aborted request as cancelled, before and while it works, and goes on', async (subject) => {
      await assert.rejects(transcribe(subject, {}, AbortSignal.abort()), isError('cancelled'));
      const controller = new AbortController();
      const doomed = [transcribe(subject, {}, controller.signal), transcribe(subject, {}, controller.signal)];
      const other = transcribe(subject);
      controller.abort();
      for (const promise of doomed) await assert.rejects(promise, isError('cancelled'));
      assert.equal(textOf(await other), subject.text);
      assert.equal(textOf(await transcribe(subject)), subject.text);
    });

    check('does not mind a signal that aborts after the answer', async (subject) => {
      const controller = new AbortController();
      const result = await transcribe(subject, {}, controller.signal);
      controller.abort();
      assert.equal(textOf(result), subject.text);
      assert.equal(textOf(await transcribe(subject)), subject.text);
    });

    check('lets what runs end when it closes, refuses what comes later, and closes once', async (subject) => {
      const running = transcribe(subject);
      const closing = [subject.transcriber.close(), subject.transcriber.close()];
      await assert.rejects(transcribe(subject), isError('going_away'));
      assert.equal(textOf(await running), subject.text);
      await Promise.all(closing);
      await subject.transcriber.close();
      await assert.rejects(transcribe(subject), isError('going_away'));
    });
  });
}

function transcribe(subject: Subject, change: Partial<TranscribeRequest> = {}, signal?: AbortSignal): Promise<TranscribeResult> {
  const { pcm, language } = subject;
  return subject.transcriber.transcribe({ pcm, language, ...change }, signal);
}

const textOf = ({ words }: TranscribeResult): string => words.map(({ text }) => text).join('');

const isError = (code: string) => (error: unknown) => error instanceof WhisperError && error.code === code;

function checkResult(result: TranscribeResult, sampleCount: number): void {
  let last = result.offset;
  for (const { text, tokens, start, end, probability } of result.words) {
    assert.ok(text.length > 0 && tokens.length > 0);
    for (const token of tokens) assert.ok(Number.isInteger(token));
    assert.ok(Number.isInteger(start) && Number.isInteger(end), `${start}-${end} are whole samples`);
    assert.ok(last <= start && start <= end && end <= sampleCount, `${text}: ${start}-${end} after ${last}, of ${sampleCount}`);
    assert.ok(probability > 0 && probability <= 1);
    last = end;
  }
  const { languageProbability, noSpeechProbability, averageLogProbability, compressionRatio, temperature } = result;
  for (const probability of [languageProbability, noSpeechProbability]) assert.ok(probability >= 0 && probability <= 1);
  assert.ok(averageLogProbability <= 0 && compressionRatio >= 0 && temperature >= 0);
}
