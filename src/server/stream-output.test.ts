// Which messages a slow client still gets.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { WebSocket } from 'ws';
import { createMetrics } from './metrics.ts';
import { createStreamOutput } from './stream-output.ts';

test('a client with unread bytes gets finals but no partials, until it is cut off', async () => {
  const sent: string[] = [];
  const socket = { readyState: WebSocket.OPEN, bufferedAmount: 0, send: (text: string) => sent.push(text) };
  const registry = new Registry();
  const output = createStreamOutput(socket as unknown as WebSocket, { partialsStopBytes: 100, cutOffBytes: 1000 }, createMetrics(registry));
  const common = { type: 'transcript', segment_id: 0, rev: 1, start: 0, end: 1, text: 'a', language: 'en' } as const;
  for (const [bufferedAmount, partial, final] of [
    [0, 1, 1],
    [100, 1, 1],
    [101, 0, 1],
    [1000, 0, 1],
  ] as const) {
    sent.length = 0;
    socket.bufferedAmount = bufferedAmount;
    assert.equal(output.send({ ...common, is_final: false }), true);
    assert.equal(sent.length, partial, `partial at ${bufferedAmount}`);
    assert.equal(output.send({ ...common, is_final: true, lag: 0 }), true);
    assert.equal(sent.length, partial + final, `final at ${bufferedAmount}`);
  }
  socket.bufferedAmount = 1001;
  assert.equal(output.send({ ...common, is_final: true, lag: 0 }), false);
  assert.match(await registry.metrics(), /whisper_stream_partials_dropped_total 2\n/);
});
