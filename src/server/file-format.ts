// A file's transcript in the response format that was asked for.

import type { Task } from '../engine/transcriber.ts';
import type { ResponseFormat } from '../protocol/file-query.ts';
import type { Transcript } from '../protocol/rest.ts';
import { formatSrt, formatText, formatVtt } from '../protocol/subtitles.ts';

export interface FormattedTranscript {
  readonly contentType: string;
  readonly body: string;
}

export function formatTranscript(transcript: Transcript, format: ResponseFormat, task: Task): FormattedTranscript {
  switch (format) {
    case 'json':
      return json(transcript);
    case 'verbose_json': {
      // As OpenAI's: the task, and the words of all segments in one list beside them.
      const words = transcript.segments.flatMap((segment) => segment.words ?? []);
      const hasWords = transcript.segments.some((segment) => segment.words !== undefined);
      return json({ task, ...transcript, ...(hasWords && { words }) });
    }
    case 'text':
      return { contentType: 'text/plain; charset=utf-8', body: formatText(transcript) };
    case 'srt':
      return { contentType: 'application/x-subrip; charset=utf-8', body: formatSrt(transcript) };
    case 'vtt':
      return { contentType: 'text/vtt; charset=utf-8', body: formatVtt(transcript) };
  }
}

const json = (value: object): FormattedTranscript => ({ contentType: 'application/json; charset=utf-8', body: JSON.stringify(value) });
