// Drafts on recorded speech: what the engine makes of a clip is the same with a draft and without, and the draft spares it steps.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { testClips } from '../../test/audio.ts';
import { testSession } from '../../test/engine.ts';
import { readWav } from '../../test/wav.ts';
import { Engine } from './engine.ts';
import { DEFAULT_RULES } from './rules.ts';
import type { TranscribeRequest, TranscribeResult } from './transcriber.ts';
import type { Answer } from './work.ts';

// float32: the kernels of int8 round otherwise for several tokens than for one, which is no matter of drafts (ARCHITECTURE.md).
const { session, tokenizer } = await testSession('base', 'float32');
after(() => session.close());

/** Plain greedy decoding: whatever it comes to is the result. */
const GREEDY = { beamThreshold: -Infinity, logProbabilityThreshold: -Infinity, compressionRatioThreshold: Infinity, temperatures: [] };
const engine = new Engine(session, tokenizer, { rules: { ...DEFAULT_RULES, ...GREEDY }, maxBatch: 1 });
const answer = (request: TranscribeRequest): Promise<Answer> => engine.submit(request).answer;
/** Words and times are the same to the last sample; probabilities to the rounding of float32. */
function assertSame({ result }: Answer, { result: plain }: Answer, name: string): void {
  const said = ({ words }: TranscribeResult) => words.map(({ text, tokens, start, end }) => ({ text, tokens, start, end }));
  assert.deepEqual(said(result), said(plain), name);
  assert.ok(Math.abs(result.averageLogProbability - plain.averageLogProbability) < 1e-4, name);
}

const tokensOf = ({ result }: Answer): number[] => result.words.flatMap(({ tokens }) => [...tokens]);

test('27 clips, each with the words of its first half and two thirds as draft, and with a draft of nonsense', async () => {
  const clips = await testClips();
  assert.equal(clips.length, 27);
  const nonsense = tokenizer.encode(' nothing of the kind was ever said');
  let [drafted, accepted, without, withDraft] = [0, 0, 0, 0];
  for (const { name, file, language } of clips) {
    const { pcm } = await readWav(file);
    const plain = await answer({ pcm, language });
    for (const share of [1 / 2, 2 / 3]) {
      const draft = tokensOf(await answer({ pcm: pcm.subarray(0, Math.round(share * pcm.length)), language }));
      const answered = await answer({ pcm, language, draft });
      assertSame(answered, plain, name);
      drafted += draft.length;
      accepted += answered.cost.acceptedTokens;
      without += plain.cost.steps;
      withDraft += answered.cost.steps;
    }
    assertSame(await answer({ pcm, language, draft: nonsense }), plain, name);
  }
  assert.equal(withDraft, without - accepted, 'each accepted token spares a step');
  assert.ok(accepted > 0.25 * drafted, `${accepted} of ${drafted} drafted tokens were right; ${withDraft} steps instead of ${without}`);
});
