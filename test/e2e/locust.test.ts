// The load test as a user runs it: Locust without its page against the service in one process.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type LocustRun, locustPython, runLocust } from '../locust.ts';
import { ServerProcess } from '../server-process.ts';

/** Whatever else the machine has to do, nobody is refused. */
const SERVER = { args: ['--model', 'tiny.en', '--admit-all'] };
const POLL_MS = 100;
const USERS = 4;
const RUN_SECONDS = 15;
const WORD_FINAL = 'WS /stream word-final latency ms';

let server: ServerProcess;

before(async () => {
  await locustPython();
  server = await ServerProcess.start(SERVER);
});

after(async () => void (await server?.stop('SIGKILL')));

function statistic(run: LocustRun, name: string) {
  const found = run.statistics.get(name);
  assert.ok(found !== undefined, `no ${name} among ${[...run.statistics.keys()].join(', ')}\n${run.output}`);
  return found;
}

test('four users speak and post: no failure, all audio accounted for, words as they were said', async () => {
  // One posts files, for a quarter is asked for. Streams are shorter than the run, so that some end in it and some with it.
  const args = ['--rest-share', '0.25', '--stream-seconds', '9'];
  const run = await runLocust(server.url, { users: USERS, runSeconds: RUN_SECONDS, args });
  assert.equal(run.exitCode, 0, run.output);
  assert.deepEqual(run.failures, []);

  const ended = statistic(run, 'WS /stream end ms');
  assert.ok(ended.count >= USERS, `${ended.count} streams`);
  for (const kind of ['lost', 'doubled']) {
    const { count, failures, max } = statistic(run, `stat /stream ${kind} audio ms`);
    assert.deepEqual({ count, failures, max }, { count: ended.count, failures: 0, max: 0 });
  }
  const words = statistic(run, WORD_FINAL);
  assert.ok(words.count > 20, `${words.count} words`);
  // A word waits for the end of its chunk of 5 s, and at most for that of the next
  assert.ok(words.p50 > 200 && words.p50 < 15_000, `${words.p50} ms`);
  assert.ok(statistic(run, 'WS /stream first text ms').count >= USERS - 1);
  // tiny.en hears these sentences well; the beginning of a stream that was cut off may be heard otherwise
  assert.ok(statistic(run, 'stat /stream WER %').average < 30);
  assert.ok(statistic(run, 'POST /transcribe').count > 0);
  assert.ok(statistic(run, 'stat /transcribe WER %').average < 30);
  assert.ok(statistic(run, 'stat /transcribe ms a second of audio').average > 0);

  // ten frames a second of each stream, less the time in which streams end and begin
  assert.ok(statistic(run, 'stat generator late ms').count > 0.5 * (USERS - 1) * 10 * RUN_SECONDS);
  assert.match(run.output, /word-final latency p50 .* \(\d+ words\)/);
  assert.match(run.output, /coverage +0\.000 s lost, 0\.000 s doubled/);
  for (const name of ['/stream word-final latency ms', '/stream WER %', '/stream lost audio ms']) assert.ok(run.html.includes(name), name);
});

test('users come in steps; nobody is there to transcribe: the run fails and says so', async () => {
  const ramp = ['-f', 'locustfile.py,load_test/step_ramp.py', '--step-users', '1', '--step-seconds', '2'];
  const run = await runLocust('http://127.0.0.1:9', { users: 2, runSeconds: 60, args: [...ramp, '--rest-share', '0'] });
  for (const users of [1, 2]) assert.match(run.output, new RegExp(`Shape test updating to ${users} users`));
  assert.equal(run.exitCode, 1, run.output);
  assert.match(run.output, /No audio was transcribed at all/);
  assert.match(run.failures.join('\n'), /^WS \/stream end ms: .*no connection: Connection refused/);
});

test('a server that is killed while they speak: each stream is a failure with its close code, lost audio too', async () => {
  const isOver = new AbortController();
  const running = runLocust(server.url, { users: USERS, runSeconds: 20, args: ['--rest-share', '0', '--stream-seconds', '60'] });
  void running.finally(() => isOver.abort()).catch(() => undefined);
  const finals = async (): Promise<number> => {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    return Number(/^whisper_stream_final_lag_seconds_count(?:{[^}]*})? (\d+)/m.exec(metrics)?.[1] ?? 0);
  };
  const finalsBefore = await finals();
  // when all have had text, and so are in the middle of their speech
  while ((await finals()) < finalsBefore + USERS) {
    if (isOver.signal.aborted) assert.fail((await running).output);
    await delay(POLL_MS);
  }
  await server.stop('SIGKILL');
  const run = await running;
  assert.equal(run.exitCode, 1, run.output);
  const failures = run.failures.join('\n');
  assert.match(failures, /^WS \/stream end ms: .*closed with 1006 before its end/m);
  assert.match(failures, /^WS \/stream end ms: .*no connection/m);
  assert.match(failures, /^stat \/stream lost audio ms: .*audio lost/m);
  assert.ok(statistic(run, WORD_FINAL).count > 0);
});
