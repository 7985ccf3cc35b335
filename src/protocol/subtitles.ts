// A transcript as plain text, SRT or WebVTT. Lines are left unwrapped: players know their own width.

import type { Transcript, TranscriptSegment } from './rest.ts';

/** One segment a line. */
export function formatText(transcript: Transcript): string {
  return transcript.segments.map((segment) => `${oneLine(segment.text)}\n`).join('');
}

/** SubRip: numbered cues, comma before the milliseconds. */
export function formatSrt(transcript: Transcript): string {
  return spoken(transcript)
    .map(
      (segment, index) =>
        `${index + 1}\n${timestamp(segment.start, ',')} --> ${timestamp(segment.end, ',')}\n${withoutArrow(oneLine(segment.text))}\n\n`,
    )
    .join('');
}

/** WebVTT (https://www.w3.org/TR/webvtt1/): cue text is markup, so its three special characters are escaped. */
export function formatVtt(transcript: Transcript): string {
  const cues = spoken(transcript).map(
    (segment) => `${timestamp(segment.start, '.')} --> ${timestamp(segment.end, '.')}\n${escapeMarkup(oneLine(segment.text))}\n\n`,
  );
  return `WEBVTT\n\n${cues.join('')}`;
}

/** `hh:mm:ss` with milliseconds; hours grow beyond two digits where they must. */
export function timestamp(seconds: number, decimalMark: ',' | '.'): string {
  const totalMs = Math.max(0, Math.round(seconds * 1000));
  const pad = (value: number, digits: number) => String(Math.floor(value)).padStart(digits, '0');
  return `${pad(totalMs / 3_600_000, 2)}:${pad((totalMs / 60_000) % 60, 2)}:${pad((totalMs / 1000) % 60, 2)}${decimalMark}${pad(totalMs % 1000, 3)}`;
}

const spoken = (transcript: Transcript): readonly TranscriptSegment[] =>
  transcript.segments.filter((segment) => segment.text.trim() !== '');

/** An empty line would end a cue. */
const oneLine = (text: string): string => text.replace(/\s+/gu, ' ').trim();

/** SRT has no escapes, and a reader may take `-->` in text for a time line. */
const withoutArrow = (text: string): string => text.replaceAll('-->', '->');

const escapeMarkup = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
