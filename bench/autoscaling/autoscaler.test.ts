// The autoscaling rule against cases worked out by hand, and against Ray's own code on random loads.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { testPython } from '../../test/ray-environment.ts';
import { Autoscaler, type AutoscalingConfig, desiredReplicas, readAutoscaling } from './autoscaler.ts';
import { createRandom } from './random.ts';

const YAML = {
  min_replicas: 1,
  max_replicas: 6,
  target_ongoing_requests: 1.2,
  look_back_period_s: 10,
  metrics_interval_s: 2,
  upscale_delay_s: 5,
  downscale_delay_s: 30,
};
const CONFIG = readAutoscaling(YAML);

/** One decision a second, as many as there are loads; replicas are there at once. */
function targets(config: AutoscalingConfig, loads: readonly number[]): number[] {
  const autoscaler = new Autoscaler(config);
  return loads.map((ongoing, second) => autoscaler.decide(ongoing, autoscaler.target, second));
}

const repeat = (ongoing: number, seconds: number): number[] => new Array<number>(seconds).fill(ongoing);

test('as many replicas are wanted as bring each to its target, a part of one counts whole', () => {
  assert.equal(desiredReplicas(2.4, 1, 1, CONFIG), 2);
  assert.equal(desiredReplicas(2.5, 1, 1, CONFIG), 3);
  assert.equal(desiredReplicas(0, 3, 3, CONFIG), 0);
  assert.equal(desiredReplicas(100, 0, 2, CONFIG), 2, 'nobody runs, so nobody reports');
});

test('a wish for more has to last for the upscale delay', () => {
  assert.deepEqual(targets(CONFIG, repeat(3, 7)), [1, 1, 1, 1, 1, 3, 3]);
  assert.deepEqual(
    targets(CONFIG, [...repeat(3, 4), 1, ...repeat(3, 6)]),
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3],
    'a second without it begins anew',
  );
});

test('a wish for less has to last for the downscale delay, and the bounds hold', () => {
  const up = targets(CONFIG, [...repeat(50, 6), ...repeat(0, 32)]);
  assert.deepEqual([up[4], up[5], up[6], up[35], up[36]], [1, 6, 6, 6, 1]);
});

test('a key of Serve that the simulation does not know is refused', () => {
  assert.throws(() => readAutoscaling({ ...YAML, upscaling_factor: 0.5 }), /upscaling_factor/);
  assert.throws(() => readAutoscaling({ ...YAML, max_replicas: 'many' }), /max_replicas/);
});

/** Reads what is to be decided, says what Ray 2.60 decides: its default policy as its controller wraps it, with the clock turned by hand. */
const RAY = `
import json, sys, types
from ray.serve import autoscaling_policy as module
from ray.serve.config import AutoscalingConfig

given = json.load(sys.stdin)
config = AutoscalingConfig(**given["config"])
policy = module._apply_autoscaling_config(module.default_autoscaling_policy)
target, state, targets = config.min_replicas, {}, []
for second, (ongoing, running) in enumerate(given["loads"]):
    module.time = types.SimpleNamespace(time=lambda: float(second))
    context = types.SimpleNamespace(config=config, total_num_requests=ongoing, current_num_replicas=running,
                                    target_num_replicas=target, policy_state=state)
    wanted, state = policy(context)
    target = max(config.min_replicas, min(config.max_replicas, wanted))
    targets.append(target)
print(json.dumps(targets))
`;

test("Ray's own code decides the same on a random load", async () => {
  const { python } = await testPython();
  const random = createRandom(7);
  const loads: [number, number][] = [];
  let level = 1;
  for (let second = 0; second < 4000; second++) {
    if (random.uniform() < 0.05) level = random.between(0, 10);
    // multiples of a tenth, so that exact multiples of the target occur
    const ongoing = Math.round(10 * level * random.between(0.9, 1.1)) / 10;
    loads.push([ongoing, random.index(7)]);
  }
  const running = promisify(execFile)(python, ['-c', RAY], { maxBuffer: 2 ** 24 });
  running.child.stdin?.end(JSON.stringify({ config: YAML, loads: loads.map(([ongoing, count]) => [ongoing, Math.max(1, count)]) }));
  const autoscaler = new Autoscaler(CONFIG);
  const ours = loads.map(([ongoing, count], second) => autoscaler.decide(ongoing, Math.max(1, count), second));
  assert.ok(new Set(ours).size > 4, 'the load moves the target');
  assert.deepEqual(ours, JSON.parse((await running).stdout));
});
