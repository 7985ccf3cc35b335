// POST /transcribe: a file's bytes go straight from the socket into the decoder; limits, time-out and cancellation around it.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { decodeContainer } from '../audio/container.ts';
import { WhisperError } from '../core/errors.ts';
import { SAMPLE_RATE } from '../core/units.ts';
import { type FileQuery, parseFileQuery } from '../protocol/file-query.ts';
import { transcribeAudio } from '../streaming/file.ts';
import { hasRoomForFiles } from './admission.ts';
import type { KeyCheck } from './api-keys.ts';
import { formatTranscript } from './file-format.ts';
import { openUpload } from './file-upload.ts';
import type { ServerLimits } from './limits.ts';
import type { ServerMetrics } from './metrics.ts';
import { checkModelOptions } from './model-options.ts';
import type { EngineParts, Readiness } from './readiness.ts';

export interface FileRouteOptions {
  readonly readiness: Readiness;
  readonly limits: ServerLimits;
  readonly metrics: ServerMetrics;
  readonly checkKey: KeyCheck;
  /** Refuse files while live speech takes all of the engine. */
  readonly yieldsToStreams: boolean;
}

export interface FileRoute {
  /** For shutdown's deadline: running requests are answered with `going_away`. */
  cutShort(): void;
}

export function addFileRoute(app: FastifyInstance, options: FileRouteOptions): FileRoute {
  const { readiness, limits, metrics, checkKey } = options;
  const running = new Set<AbortController>();

  /** The warm engine, if this request may have it. */
  function admit(request: FastifyRequest): EngineParts {
    try {
      checkKey(request.raw);
      const engine = readiness.require();
      if (running.size >= limits.maxFiles) {
        throw new WhisperError('overloaded', `${limits.maxFiles} files are being transcribed; try again later.`, { retryAfterSeconds: 5 });
      }
      if (options.yieldsToStreams && !hasRoomForFiles(engine.transcriber.load())) {
        throw new WhisperError('overloaded', 'Live streams need all there is; try again later.', { retryAfterSeconds: 10 });
      }
      return engine;
    } catch (error) {
      if (error instanceof WhisperError) metrics.refused('rest', error.code);
      throw error;
    }
  }

  app.post('/transcribe', async (request, reply) => {
    const engine = admit(request);
    const controller = new AbortController();
    running.add(controller);
    const timer = setTimeout(() => {
      controller.abort(new WhisperError('timeout', `The transcript was not ready within ${limits.fileTimeoutMs / 1000} s.`));
    }, limits.fileTimeoutMs);
    const onClose = (): void => controller.abort(new WhisperError('cancelled', 'The client went away.'));
    reply.raw.once('close', onClose);
    try {
      return await transcribe(request, reply, engine, controller.signal);
    } catch (error) {
      // Whatever broke because of the signal, the signal's reason is the cause.
      throw controller.signal.aborted ? controller.signal.reason : error;
    } finally {
      clearTimeout(timer);
      reply.raw.off('close', onClose);
      running.delete(controller);
    }
  });

  async function transcribe(request: FastifyRequest, reply: FastifyReply, engine: EngineParts, signal: AbortSignal): Promise<string> {
    const upload = await openUpload(request, { maxBytes: limits.maxFileBytes, idleMs: limits.idleMs, signal });
    const parseQuery = (): FileQuery => {
      const query = parseFileQuery(upload.query);
      checkModelOptions(engine.transcriber.info, query, 'invalid_parameter');
      return query;
    };
    // What is known to be wrong is refused before the audio is read; fields after the file count once it was.
    parseQuery();
    const pcm = counted(decodeContainer(upload.audio, { signal, maxSeconds: limits.maxFileSeconds, maxSpoolBytes: limits.maxFileBytes }));
    const first = await pcm.next();
    const query = await parseOrReturn(parseQuery, pcm);
    const { language, task, prompt } = query;
    const transcript = await transcribeAudio(engine, resume(first, pcm), {
      language,
      task,
      prompt,
      wordTimestamps: query.word_timestamps,
      signal,
    });
    const { contentType, body } = formatTranscript(transcript, query.response_format, task);
    reply.type(contentType);
    return body;
  }

  async function* counted(pcm: AsyncIterable<Float32Array>): AsyncGenerator<Float32Array, void, undefined> {
    for await (const block of pcm) {
      metrics.audioReceived('rest', block.length / SAMPLE_RATE);
      yield block;
    }
  }

  return {
    cutShort() {
      const reason = new WhisperError('going_away', 'The service is shutting down; send the file again.', { retryAfterSeconds: 1 });
      for (const controller of running) controller.abort(reason);
    },
  };
}

/** A decoder that is given up keeps its spool file unless it is told so. */
async function parseOrReturn(parse: () => FileQuery, pcm: AsyncGenerator<Float32Array>): Promise<FileQuery> {
  try {
    return parse();
  } catch (error) {
    await pcm.return(undefined);
    throw error;
  }
}

/** The blocks of which the first was already taken. */
async function* resume(
  first: IteratorResult<Float32Array>,
  rest: AsyncGenerator<Float32Array>,
): AsyncGenerator<Float32Array, void, undefined> {
  try {
    if (first.done !== true) yield first.value;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}
