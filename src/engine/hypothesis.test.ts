// When a text goes round in circles, and when it only repeats itself for a while.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { extend, isLooping, type Node } from './hypothesis.ts';

const nodeOf = (tokens: readonly number[]): Node => tokens.reduce((node: Node | null, token) => extend(node, token, -0.1), null) as Node;
const times = (count: number, phrase: readonly number[]): number[] => Array.from({ length: count }, () => phrase).flat();

const token = fc.integer({ min: 0, max: 5 });
const tokens = fc.array(token, { maxLength: 60 });
const phrase = fc.array(token, { minLength: 1, maxLength: 24 });
/** Enough of it, cut anywhere. */
const loop = fc.tuple(phrase, fc.nat(23)).map(([p, more]) => times(80, p).slice(0, Math.max(40, 3 * p.length) + more));

test('a phrase of up to 24 tokens is a loop once it was said three times and for 40 tokens, whatever came before', () => {
  fc.assert(fc.property(tokens, loop, (before, repeated) => isLooping(nodeOf([...before, ...repeated]))));
  assert.equal(isLooping(nodeOf(times(40, [7]))), true);
  assert.equal(isLooping(nodeOf(times(39, [7]))), false);
  const sentence = Array.from({ length: 24 }, (_, i) => i);
  assert.equal(isLooping(nodeOf(times(3, sentence))), true);
  assert.equal(isLooping(nodeOf(times(3, sentence).slice(1))), false);
});

test('a token that is nowhere else among the last 40 is a way out', () => {
  fc.assert(
    fc.property(loop, fc.nat(39), (repeated, back) => {
      const text = [...repeated];
      text[text.length - 1 - back] = 99;
      return !isLooping(nodeOf(text));
    }),
  );
});
