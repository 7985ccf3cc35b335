// An HTTP server that plays the Hugging Face hub for one repository, and misbehaves as told.

import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const FAKE_REPOSITORY = 'someone/whisper-fake';
export const FAKE_COMMIT = '0123456789abcdef0123456789abcdef01234567';

/** A client loses what it has received and not yet written when the connection ends: it gets the time to write. */
const CUT_DELAY_MS = 200;

export interface FakeHubBehaviour {
  /** HTTP status of the listing, other than 200. */
  listingStatus?: number;
  /** Take the connection, answer nothing. */
  silent?: boolean;
  /** Cut each of the next transfers of the weights after so many bytes. */
  cuts?: number[];
  /** Stop sending the weights after so many bytes, without closing. */
  stallAfterBytes?: number;
  ignoreRange?: boolean;
  /** Send these bytes in place of the weights. */
  forged?: Buffer;
  /** Wait before the weights are sent. */
  weightsDelayMs?: number;
  token?: string;
}

export interface FakeHub {
  readonly endpoint: string;
  readonly behaviour: FakeHubBehaviour;
  /** Of the weights: the first byte of each request, in order. */
  readonly weightRequests: number[];
  /** Resolves when so many bytes of a stalled transfer were handed to the connection. */
  readonly stalled: Promise<void>;
  close(): Promise<void>;
}

export const FAKE_WEIGHTS = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7919) % 251));

const FILES: Readonly<Record<string, Buffer>> = {
  'config.json': Buffer.from('{}'),
  'tokenizer.json': Buffer.from('{"model":{}}'),
  'README.md': Buffer.from('not needed'),
  'model.safetensors': FAKE_WEIGHTS,
};

function listing(): string {
  const siblings = Object.entries(FILES).map(([rfilename, data]) => ({
    rfilename,
    size: data.length,
    blobId: createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex'),
    ...(rfilename === 'model.safetensors' && {
      lfs: { sha256: createHash('sha256').update(data).digest('hex'), size: data.length, pointerSize: 134 },
    }),
  }));
  return JSON.stringify({ sha: FAKE_COMMIT, siblings });
}

export async function startFakeHub(behaviour: FakeHubBehaviour = {}): Promise<FakeHub> {
  const weightRequests: number[] = [];
  let markStalled = (): void => undefined;
  const stalled = new Promise<void>((done) => {
    markStalled = done;
  });

  function sendWeights(request: IncomingMessage, response: ServerResponse): void {
    const data = behaviour.forged ?? FAKE_WEIGHTS;
    const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const from = asked && !behaviour.ignoreRange ? Number(asked[1]) : 0;
    weightRequests.push(asked ? Number(asked[1]) : 0);
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': data.length - from,
      ...(from > 0 && { 'content-range': `bytes ${from}-${data.length - 1}/${data.length}` }),
    });
    const cut = behaviour.cuts?.shift();
    if (cut !== undefined) response.write(data.subarray(from, from + cut), () => setTimeout(() => response.destroy(), CUT_DELAY_MS));
    else if (behaviour.stallAfterBytes !== undefined) response.write(data.subarray(from, from + behaviour.stallAfterBytes), markStalled);
    else response.end(data.subarray(from));
  }

  const server = createServer((request, response) => {
    if (behaviour.silent) return;
    const url = request.url ?? '';
    if (url === '/cdn/weights') {
      // as a signed address does, which refuses a second way of saying who asks
      if (request.headers.authorization !== undefined) response.writeHead(400).end();
      else setTimeout(() => sendWeights(request, response), behaviour.weightsDelayMs ?? 0);
      return;
    }
    if (behaviour.token !== undefined && request.headers.authorization !== `Bearer ${behaviour.token}`) {
      response.writeHead(401).end();
    } else if (url === `/api/models/${FAKE_REPOSITORY}/revision/main?blobs=true`) {
      if (behaviour.listingStatus !== undefined) response.writeHead(behaviour.listingStatus).end('no');
      else response.writeHead(200, { 'content-type': 'application/json' }).end(listing());
    } else if (url === `/${FAKE_REPOSITORY}/resolve/${FAKE_COMMIT}/model.safetensors`) {
      // large files lie on another host
      response.writeHead(302, { location: `http://localhost:${(server.address() as AddressInfo).port}/cdn/weights` }).end();
    } else {
      const name = url.startsWith(`/${FAKE_REPOSITORY}/resolve/${FAKE_COMMIT}/`) ? url.slice(url.lastIndexOf('/') + 1) : '';
      const data = FILES[name];
      if (data === undefined) response.writeHead(404).end();
      else response.writeHead(200).end(data);
    }
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    behaviour,
    weightRequests,
    stalled,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
