// The web page in a real Chromium: opens it, watches its console, and does what a user does.

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { findChromium } from '../chromium.ts';

const PAGE_FILE = fileURLToPath(new URL('../../client/streaming_client.html', import.meta.url));

/** The page's whole work on a few seconds of speech, on a busy machine. */
const DONE_TIMEOUT_MS = 45_000;

export const PHONE: BrowserContextOptions = { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

export interface OpenPage {
  readonly page: Page;
  /** Errors and warnings of the page's console, and exceptions that nobody caught. */
  readonly complaints: string[];
}

/** @param microphoneFile WAV that the microphone hears once, from the moment it is opened */
export async function launchBrowser(microphoneFile: string): Promise<Browser> {
  return chromium.launch(await findChromium({ microphoneFile: `${microphoneFile}%noloop` }));
}

/** The page as the server gives it. */
export const openServed = (browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<OpenPage> =>
  open(browser, url, options);

/** The page from the disk, pointed at a server. */
export function openFromDisk(browser: Browser, serverUrl: string, options: BrowserContextOptions = {}): Promise<OpenPage> {
  return open(browser, `${pathToFileURL(PAGE_FILE).href}?server=${encodeURIComponent(serverUrl)}`, options);
}

async function open(browser: Browser, url: string, options: BrowserContextOptions): Promise<OpenPage> {
  const context = await browser.newContext({ permissions: ['microphone'], locale: 'en-GB', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(DONE_TIMEOUT_MS);
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(url);
  return { page, complaints };
}

/** Waits; where the page gives up instead, the error tells what it says. */
export async function waitForState(page: Page, state: 'idle' | 'live' | 'waiting'): Promise<void> {
  await page
    .locator(`body[data-state="${state}"]`)
    .waitFor()
    .catch(async (error: Error) => {
      const notices = await page.locator('.notice').allTextContents();
      throw new Error(`the page did not become ${state}; it says: ${notices.join(' ') || 'nothing'}`, { cause: error });
    });
}

/** Finals only, as a reader sees them. */
export async function finalText(page: Page): Promise<string> {
  return (await page.locator('.segment').allTextContents()).join(' ').replace(/\s+/g, ' ').trim();
}

/** The text of the first element that matches. */
export const readText = async (page: Page, selector: string): Promise<string> =>
  (await page.locator(selector).first().textContent())?.trim() ?? '';

/** Drops a file on the page as a file manager does. */
export async function dropFile(page: Page, file: string, type: string): Promise<void> {
  const content = (await readFile(file)).toString('base64');
  const transfer = await page.evaluateHandle(
    ([base64, name, mimeType]) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], name, { type: mimeType }));
      return dataTransfer;
    },
    [content, basename(file), type] as const,
  );
  for (const event of ['dragenter', 'dragover', 'drop']) await page.dispatchEvent('body', event, { dataTransfer: transfer });
}

/** Visible elements that reach beyond the window's right edge; a page that hides its overflow would not scroll, only cut. */
export function elementsBeyondEdge(page: Page): Promise<string[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>('body *')]
      .filter((element) => element.checkVisibility() && getComputedStyle(element).clipPath === 'none')
      .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
      .map((element) => `${element.tagName.toLowerCase()}#${element.id}.${element.className}`),
  );
}
