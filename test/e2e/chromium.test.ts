// Every way to come by a Chromium that this machine offers gives one that opens a page and hears the fake microphone's file.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { type ChromiumOptions, findChromium } from '../chromium.ts';
import { writeWav } from '../wav.ts';

/** Runs in the page: the loudest frequency that the microphone hears within three seconds, in hertz. */
async function loudestFrequency(): Promise<number> {
  const context = new AudioContext({ sampleRate: 16_000 });
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const analyser = new AnalyserNode(context, { fftSize: 2048 });
  context.createMediaStreamSource(stream).connect(analyser);
  const levels = new Float32Array(analyser.frequencyBinCount);
  for (const deadline = performance.now() + 3000; performance.now() < deadline; ) {
    await new Promise((resolve) => requestAnimationFrame(resolve));
    analyser.getFloatFrequencyData(levels);
    const peak = levels.indexOf(Math.max(...levels));
    if (levels[peak] > -40) return (peak * context.sampleRate) / analyser.fftSize;
  }
  return 0;
}

/** The npm package has a binary for this platform only. */
const packageRuns = process.platform === 'linux' && process.arch === 'x64';
const ways: ReadonlyArray<NonNullable<ChromiumOptions['sources']>> = [
  ...(packageRuns ? ([['package']] as const) : []),
  ['environment', 'installed', 'package', 'debian'],
];

for (const sources of ways) {
  test(`a browser from ${sources.join(', ')} hears a 1 kHz tone`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'microphone-'));
    const tone = Float32Array.from({ length: 48_000 }, (_, index) => 0.5 * Math.sin((2 * Math.PI * 1000 * index) / 48_000));
    await writeWav(join(folder, 'tone.wav'), { sampleRate: 48_000, pcm: tone });
    const browser = await chromium.launch(await findChromium({ microphoneFile: join(folder, 'tone.wav'), sources }));
    try {
      const context = await browser.newContext({ permissions: ['microphone'] });
      const page = await context.newPage();
      await page.route('**/*', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>tone</title>' }));
      await page.goto('http://localhost/');
      const frequency = await page.evaluate(loudestFrequency);
      assert.ok(Math.abs(frequency - 1000) < 20, `heard ${frequency} Hz`);
    } finally {
      await browser.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
}
