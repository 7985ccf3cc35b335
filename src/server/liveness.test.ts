// Pings and idle time on a hand-turned clock.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Liveness } from './liveness.ts';

test('a client that answers pings stays until it is idle', () => {
  const liveness = new Liveness({ heartbeatMs: 30, idleMs: 100 }, 0);
  assert.equal(liveness.check(29), 'fine');
  assert.equal(liveness.check(30), 'ping');
  liveness.answered();
  assert.equal(liveness.check(60), 'ping');
  liveness.answered();
  assert.equal(liveness.check(90), 'ping');
  liveness.answered();
  assert.equal(liveness.check(99), 'fine');
  assert.equal(liveness.check(100), 'idle');
});

test('anything heard counts as an answer to a ping', () => {
  const liveness = new Liveness({ heartbeatMs: 30, idleMs: 1000 }, 0);
  assert.equal(liveness.check(30), 'ping');
  liveness.heard(40);
  assert.equal(liveness.check(60), 'ping');
  assert.equal(liveness.check(89), 'fine');
  assert.equal(liveness.check(90), 'dead');
});
