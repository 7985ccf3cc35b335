// The web page in a real Chromium against the real service: speak, drop a file, read, download, and what is said when things fail.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { testClip } from '../audio.ts';
import { ServerProcess } from '../server-process.ts';
import { joinWavs, readWav, type Wav, writeWav } from '../wav.ts';
import { wordErrorRate } from '../word-error-rate.ts';
import {
  dropFile,
  elementsBeyondEdge,
  finalText,
  launchBrowser,
  type OpenPage,
  openFromDisk,
  openServed,
  PHONE,
  readText,
  waitForState,
} from './page-driver.ts';

const CLIPS = ['en/quick_brown_fox', 'en/counting', 'en/hello_world'];
/** Two words of twenty-one may be wrong. */
const WORD_ERROR_BOUND = 0.1;
const SILENCE_SECONDS = 0.5;

let folder: string;
let server: ServerProcess;
let browser: Browser;
/** The clips one after the other: what the microphone hears, and the file that is dropped. */
let speechFile: string;
let speech: Wav;
let spokenText: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'browser-'));
  const clips = await Promise.all(CLIPS.map((name) => testClip(name)));
  speech = joinWavs(await Promise.all(clips.map((clip) => readWav(clip.file))), SILENCE_SECONDS);
  spokenText = clips.map((clip) => clip.text).join(' ');
  speechFile = join(folder, 'speech.wav');
  await writeWav(speechFile, speech);
  [server, browser] = await Promise.all([ServerProcess.start({ args: ['--log-level', 'warn'] }), launchBrowser(speechFile)]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const withoutSpaces = (text: string): string => text.replace(/\s+/g, '');
const closePage = ({ page }: OpenPage): Promise<void> => page.context().close();
const assertSpoken = (text: string): void => {
  const rate = wordErrorRate(spokenText, text);
  assert.ok(rate <= WORD_ERROR_BOUND, `word error rate ${rate.toFixed(3)}: ${text}`);
};

/** Starts, waits until the clock has passed the speech, stops, and waits for the last words. */
async function speak(page: Page): Promise<void> {
  await page.locator('#record').press('Enter');
  await waitForState(page, 'live');
  const speechSeconds = speech.pcm.length / speech.sampleRate;
  await page.waitForFunction((until) => {
    const [minutes, seconds] = (document.getElementById('elapsed')?.textContent ?? '0:00').split(':').map(Number);
    return minutes * 60 + seconds >= until;
  }, Math.ceil(speechSeconds) + 1);
  await page.click('#record');
  await waitForState(page, 'idle');
}

test('speech into the microphone becomes drafts, then accurate text, with its latency', async () => {
  const opened = await openServed(browser, server.url);
  const { page, complaints } = opened;
  await page.locator('[data-health="good"]').waitFor();
  const draft = page.locator('.partial').first().waitFor();
  await Promise.all([draft, speak(page)]);

  assertSpoken(await finalText(page));
  assert.equal(await page.locator('.partial').count(), 0);
  assert.match(await readText(page, '.row time'), /^0:0\d$/);
  assert.match(await readText(page, '#lag'), /^Latency \d+\.\d+ s$/);
  assert.match(await readText(page, '#percentiles'), /^p50 \d+\.\d+ s · p95 \d+\.\d+ s$/);
  assert.equal(await readText(page, '#record'), 'Start');
  assert.equal(await page.locator('.notice').count(), 0);
  assert.deepEqual(complaints, []);
  await closePage(opened);
});

test('a dropped file is transcribed over the socket, and downloads as subtitles, text and data', async () => {
  const opened = await openServed(browser, server.url);
  const { page, complaints } = opened;
  await dropFile(page, speechFile, 'audio/wav');
  await waitForState(page, 'live');
  await waitForState(page, 'idle');
  const text = await finalText(page);
  assertSpoken(text);
  assert.match(await readText(page, '#lag'), /^\d+\.\d× as fast as speech$/);

  const srt = await download(page, 'srt');
  assert.equal(srt.name, 'speech.srt');
  const cues = srt.content.trim().split('\n\n');
  const lengthSeconds = speech.pcm.length / speech.sampleRate;
  let previousEnd = 0;
  for (const [index, cue] of cues.entries()) {
    const [number, times, ...lines] = cue.split('\n');
    assert.equal(number, String(index + 1));
    const [start, end] = times.split(' --> ').map(subtitleSeconds);
    assert.ok(previousEnd <= start && start < end && end <= lengthSeconds + 0.01, times);
    assert.equal(lines.length, 1);
    previousEnd = end;
  }
  assert.equal(withoutSpaces(cues.map((cue) => cue.split('\n')[2]).join('')), withoutSpaces(text));

  assert.match((await download(page, 'vtt')).content, /^WEBVTT\n\n00:00:0\d\.\d{3} --> /);
  assert.equal(withoutSpaces((await download(page, 'txt')).content), withoutSpaces(text));
  assert.equal(JSON.parse((await download(page, 'json')).content).segments.length, cues.length);
  assert.deepEqual(complaints, []);
  await closePage(opened);
});

test('a file can be sent whole instead, with the doubtful words marked', async () => {
  const opened = await openServed(browser, server.url);
  const { page, complaints } = opened;
  await page.click('#open-options');
  await page.getByLabel('Mark unsure words').check();
  await page.getByText('Whole', { exact: true }).click();
  await page.getByRole('button', { name: 'Done' }).click();
  const chooser = page.waitForEvent('filechooser');
  await page.click('#choose');
  await (await chooser).setFiles(speechFile);
  await page.locator('.segment').first().waitFor();
  await waitForState(page, 'idle');
  assertSpoken(await finalText(page));
  assert.match((await page.locator('.segment span').first().getAttribute('title')) ?? '', /^\d+ % sure, 0:0\d$/);
  assert.deepEqual(complaints, []);
  await closePage(opened);
});

test('the page works from the disk', async () => {
  const opened = await openFromDisk(browser, server.url.replace('http', 'ws'));
  await opened.page.locator('[data-health="good"]').waitFor();
  await speak(opened.page);
  assertSpoken(await finalText(opened.page));
  assert.deepEqual(opened.complaints, []);
  await closePage(opened);
});

test('what is no audio, or holds no speech, is said in plain words', async () => {
  const opened = await openServed(browser, server.url);
  const { page } = opened;
  await writeWav(join(folder, 'silence.wav'), { sampleRate: 16_000, pcm: new Float32Array(32_000) });
  await dropFile(page, join(folder, 'silence.wav'), 'audio/wav');
  await page.getByText('No speech was heard.').waitFor();
  await page.setInputFiles('#file', {
    name: 'notes.txt',
    mimeType: 'text/plain',
    buffer: Buffer.from('this is text, not sound. '.repeat(500)),
  });
  await page.getByText('This file can’t be read as a stream.').waitFor();
  await page.getByRole('button', { name: 'Send it whole' }).click();
  await page.getByText('This file has no audio that can be read.').waitFor();
  assert.equal(await page.locator('#empty').isVisible(), true);
  await closePage(opened);
});

test('nothing is wider than a phone, with text, options and a notice', async () => {
  const opened = await openServed(browser, server.url, PHONE);
  const { page } = opened;
  assert.deepEqual(await elementsBeyondEdge(page), []);
  await page.click('#open-options');
  assert.deepEqual(await elementsBeyondEdge(page), []);
  await page.getByRole('button', { name: 'Done' }).click();
  await page.setInputFiles('#file', speechFile);
  await page.locator('.segment').first().waitFor();
  await waitForState(page, 'idle');
  await page.setInputFiles('#file', { name: 'empty.wav', mimeType: 'audio/wav', buffer: Buffer.alloc(0) });
  assert.match(await readText(page, '.notice'), /This file is empty/);
  assert.deepEqual(await elementsBeyondEdge(page), []);
  await closePage(opened);
});

test('a refused microphone is explained', async () => {
  const opened = await openServed(browser, server.url);
  const { page } = opened;
  await page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('Permission denied', 'NotAllowedError'));
  });
  await page.click('#record');
  await page.getByText('The microphone is not allowed.').waitFor();
  await waitForState(page, 'idle');
  await closePage(opened);
});

test('a busy server is tried again; one that dies leaves the text and an offer to reconnect; one that is away is named', async () => {
  const mortal = await ServerProcess.start({ args: ['--log-level', 'warn', '--max-sessions', '1'] });
  const opened = await openServed(browser, mortal.url);
  const { page } = opened;
  await page.click('#record');
  await page.locator('.segment').first().waitFor();
  const second = await openServed(browser, mortal.url);
  await second.page.click('#record');
  await second.page.getByText(/The server is busy\. Trying again in \d+ s\./).waitFor();
  await waitForState(second.page, 'waiting');
  await closePage(second);

  const text = await finalText(page);
  await mortal.stop('SIGKILL');
  await page.getByText('The connection was lost.').waitFor();
  await waitForState(page, 'idle');
  assert.ok((await finalText(page)).startsWith(text));
  await page.getByRole('button', { name: 'Reconnect' }).click();
  await page.getByText(`No answer from ${new URL(mortal.url).host}.`).waitFor();
  assert.ok((await finalText(page)).startsWith(text));
  await closePage(opened);
});

async function download(page: Page, format: string): Promise<{ name: string; content: string }> {
  const event = page.waitForEvent('download');
  await page.click('#download summary');
  await page.click(`#download [data-format="${format}"]`);
  const file = await event;
  return { name: file.suggestedFilename(), content: await readFile(await file.path(), 'utf8') };
}

function subtitleSeconds(time: string): number {
  const [hours, minutes, seconds] = time.replace(',', '.').split(':').map(Number);
  return hours * 3600 + minutes * 60 + seconds;
}
