// Text, SRT and WebVTT of a transcript.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Transcript } from './rest.ts';
import { formatSrt, formatText, formatVtt, timestamp } from './subtitles.ts';

const transcript: Transcript = {
  text: 'Salt & pepper. a --> b',
  language: 'en',
  duration: 3725.5,
  segments: [
    { id: 0, start: 0, end: 1.5, text: ' Salt & <pepper>.' },
    { id: 1, start: 1.5, end: 2, text: ' ' },
    { id: 2, start: 3723.25, end: 3725.5, text: ' a -->\n\nb' },
  ],
};

test('timestamps carry hours, minutes, seconds and milliseconds', () => {
  assert.equal(timestamp(0, ','), '00:00:00,000');
  assert.equal(timestamp(59.9996, '.'), '00:01:00.000');
  assert.equal(timestamp(3599.999, '.'), '00:59:59.999');
  assert.equal(timestamp(360_000.001, ','), '100:00:00,001');
  assert.equal(timestamp(-0.2, '.'), '00:00:00.000');
  assert.equal(timestamp(1.001, '.'), '00:00:01.001');
});

test('SRT numbers its cues, leaves out silent segments and keeps its arrows to itself', () => {
  assert.equal(formatSrt(transcript), '1\n00:00:00,000 --> 00:00:01,500\nSalt & <pepper>.\n\n2\n01:02:03,250 --> 01:02:05,500\na -> b\n\n');
});

test('WebVTT escapes markup', () => {
  assert.equal(
    formatVtt(transcript),
    'WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nSalt &amp; &lt;pepper&gt;.\n\n01:02:03.250 --> 01:02:05.500\na --&gt; b\n\n',
  );
});

test('text is one segment a line', () => {
  assert.equal(formatText({ ...transcript, segments: transcript.segments.slice(0, 1) }), 'Salt & <pepper>.\n');
  assert.equal(formatText({ ...transcript, segments: [] }), '');
});
