// The audio and the query of POST /transcribe, from a plain body or from a form (`curl --data-binary @FILE`, `curl -F file=@FILE`).

import type { Readable } from 'node:stream';
import type { MultipartFile, MultipartValue } from '@fastify/multipart';
import type { FastifyRequest } from 'fastify';
import { WhisperError } from '../core/errors.ts';
import { type BodyLimits, nextWithin, readBody } from './body-source.ts';

export interface FileUpload {
  /** Keys of the URL and of the form, unchecked; a key given twice is an array. Complete once `audio` was read: fields may follow the file. */
  readonly query: Readonly<Record<string, unknown>>;
  /** To be read once. */
  readonly audio: AsyncIterable<Uint8Array>;
}

/** Types that say outright that they are not audio. Others are left to the decoder: curl calls any body a urlencoded form. */
const NOT_AUDIO = /^(application\/json|text\/|image\/|multipart\/)/i;

/** @throws WhisperError `undecodable_audio`, `payload_too_large`, `invalid_parameter`, `idle_timeout`; the signal's reason */
export async function openUpload(request: FastifyRequest, limits: BodyLimits): Promise<FileUpload> {
  const query = request.query as Record<string, unknown>;
  const announcedBytes = Number(request.headers['content-length'] ?? 0);
  if (announcedBytes > limits.maxBytes) {
    throw new WhisperError('payload_too_large', `expected at most ${limits.maxBytes} bytes, got ${announcedBytes}`);
  }
  if (request.isMultipart()) return openForm(request, query, limits);
  const contentType = request.headers['content-type'] ?? '';
  if (NOT_AUDIO.test(contentType)) {
    const name = contentType.split(';', 1)[0]?.slice(0, 80);
    throw new WhisperError(
      'undecodable_audio',
      `content-type: expected audio/*, application/octet-stream or multipart/form-data, got ${name}`,
    );
  }
  return { query, audio: readBody(request.raw, limits) };
}

async function openForm(request: FastifyRequest, urlQuery: Record<string, unknown>, limits: BodyLimits): Promise<FileUpload> {
  const parts = request.parts({ limits: { files: 1, fields: 16, parts: 17, fieldSize: 8192, fileSize: Number.POSITIVE_INFINITY } });
  const nextPart = () => nextWithin(parts.next(), limits).catch(rethrowFormError);
  const query: Record<string, unknown> = { ...urlQuery };
  /** Fields into the query, up to the file or to the form's end. */
  const nextFile = async (): Promise<MultipartFile | null> => {
    while (true) {
      const step = await nextPart();
      if (step.done === true) return null;
      const part: MultipartFile | MultipartValue = step.value;
      if (part.type === 'file') return part;
      query[part.fieldname] = part.fieldname in query ? [query[part.fieldname], part.value] : part.value;
    }
  };
  const file = await nextFile();
  if (file === null) throw new WhisperError('invalid_parameter', 'expected a form field "file" with the audio, got none');
  if (file.fieldname !== 'file') throw new WhisperError('invalid_parameter', 'expected the audio in a form field "file"');
  async function* audio(part: MultipartFile): AsyncGenerator<Uint8Array, void, undefined> {
    yield* readFormFile(part.file, limits);
    await nextFile();
  }
  return { query, audio: audio(file) };
}

async function* readFormFile(file: Readable, limits: BodyLimits): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* readBody(file, limits);
  } catch (error) {
    rethrowFormError(error);
  }
}

/** The parser's own errors have no code: the form is cut short or is none. */
function rethrowFormError(error: unknown): never {
  if (error instanceof WhisperError || (error as { code?: string }).code !== undefined) throw error;
  throw new WhisperError('invalid_message', 'The form is not well-formed multipart/form-data.', { cause: error });
}
