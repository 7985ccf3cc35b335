// Loads of replicas put together: shares over all engines, what is ours and what others', and what silence means.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IDLE_LOAD } from '../../test/load.ts';
import { RemoteLoad } from './remote-load.ts';

const replica = (name: string, change: Partial<typeof IDLE_LOAD> = {}) => ({
  replica: name,
  callers: change.callers ?? 1,
  load: { ...IDLE_LOAD, ...change },
});

test('shares are means over engines, waits are the longest', () => {
  const loads = new RemoteLoad(replica('a', { engines: 1, finalShare: 0.9, oldestFinalSeconds: 0.2 }), 100);
  loads.heard(replica('b', { engines: 3, finalShare: 0.1, finalSeconds: 0.35, oldestFinalSeconds: 1.1 }), 101);
  const { engines, finalSeconds, finalShare, oldestFinalSeconds } = loads.load(102, 0);
  assert.equal(engines, 4);
  assert.ok(Math.abs(finalShare - 0.3) < 1e-9);
  assert.ok(Math.abs(finalSeconds - 0.3) < 1e-9);
  assert.equal(oldestFinalSeconds, 1.1);
  assert.equal(loads.replicaCount(102), 2);
});

test('the last word of a replica counts, and that of one that is silent for 15 s no more', () => {
  const loads = new RemoteLoad(replica('a', { finalShare: 0.8 }), 100);
  loads.heard(replica('b', { finalShare: 0.4 }), 110);
  loads.heard(replica('b', { finalShare: 0.2 }), 111);
  assert.ok(Math.abs(loads.load(114, 0).finalShare - 0.5) < 1e-9);
  assert.equal(loads.load(115.5, 0).finalShare, 0.2);
  assert.equal(loads.replicaCount(115.5), 1);
});

test('servers that share the engines are as many as the replica says that has heard of most', () => {
  const loads = new RemoteLoad(replica('a', { callers: 2 }), 100);
  loads.heard(replica('b', { callers: 0 }), 101);
  assert.equal(loads.load(101, 0).callers, 2);
  assert.equal(loads.load(115.5, 0).callers, 1);
});

test('when nobody answers any more, the time since the last word counts as a wait', () => {
  const loads = new RemoteLoad(replica('a'), 100);
  assert.equal(loads.load(110, 0).oldestFinalSeconds, 0);
  assert.equal(loads.load(110, 0).silentSeconds, 10);
  assert.equal(loads.load(120, 0).oldestFinalSeconds, 20);
  assert.equal(loads.load(120, 0).silentSeconds, 20);
  loads.heard(replica('b'), 121);
  assert.equal(loads.load(121, 0).oldestFinalSeconds, 0);
});

test('what our own finals do not account for is the share of others', () => {
  const loads = new RemoteLoad(replica('a', { engines: 2, finalShare: 0.6, finalSeconds: 0.2 }), 100);
  assert.equal(loads.load(100, 0).finalShareOfOthers, 0.6);
  // 20 of 0.2 s in 10 s of two engines are a fifth
  for (let i = 0; i < 20; i++) loads.finalDone(0.3, 100);
  assert.ok(Math.abs(loads.load(101, 0).finalShareOfOthers - 0.4) < 1e-9);
  for (let i = 0; i < 60; i++) loads.finalDone(0.3, 101);
  assert.equal(loads.load(101, 0).finalShareOfOthers, 0);
  assert.equal(loads.load(111.5, 0).finalShareOfOthers, 0.6);
});

test('the delay of finals is theirs as we saw it, or that of the one which is still out', () => {
  const loads = new RemoteLoad(replica('a', { finalDelaySeconds: 9 }), 100);
  assert.equal(loads.load(100, 0).finalDelaySeconds, 0);
  for (const delay of [0.1, 0.2, 0.3, 5]) loads.finalDone(delay, 100);
  assert.equal(loads.load(100, 0.05).finalDelaySeconds, 0.3);
  assert.equal(loads.load(100, 4).finalDelaySeconds, 4);
});
