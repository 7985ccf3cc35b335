// Admission against a simulated engine whose capacity is known: streams come, go and burst; what is let in fits, and no room is wasted.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { IDLE_LOAD } from '../../test/load.ts';
import { scatter } from '../../test/scripted-speech.ts';
import { longDelay } from '../engine/load-meter.ts';
import type { TranscriberLoad } from '../engine/transcriber.ts';
import { Admission, hasRoomForFiles } from './admission.ts';

const FINAL_EVERY_SECONDS = 3.4;
const STEP_SECONDS = 0.1;

interface Machine {
  readonly engines: number;
  /** Engine time of one final. */
  readonly finalSeconds: number;
}

/** Streams that send a final every 3.4 s, the first after 5 s, to a queue that engines work off in order. */
class Simulation {
  readonly admission = new Admission(() => this.seconds * 1000);
  readonly #machine: Machine;
  /** What the engine believes a final costs before it has seen one. */
  readonly #guessSeconds: number;
  readonly #streams = new Set<{ nextFinal: number; readonly leave: () => void }>();
  #queue: number[] = [];
  #freeAt: number[];
  #done: { readonly at: number; readonly submitted: number }[] = [];
  seconds = 100;

  constructor(machine: Machine, guessSeconds = machine.finalSeconds) {
    this.#machine = machine;
    this.#guessSeconds = guessSeconds;
    this.#freeAt = Array(machine.engines).fill(0);
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** Share of the engines' time that the open streams need. */
  get offeredShare(): number {
    return (this.streams * this.#machine.finalSeconds) / FINAL_EVERY_SECONDS / this.#machine.engines;
  }

  load(): TranscriberLoad {
    const { engines, finalSeconds } = this.#machine;
    const recent = this.#done.filter(({ at }) => at > this.seconds - 10);
    const delays = recent.map(({ at, submitted }) => at - submitted);
    return {
      ...IDLE_LOAD,
      engines,
      finalShare: Math.min(1, (recent.length * finalSeconds) / engines / 10),
      finalSeconds: this.#done.length === 0 ? this.#guessSeconds : finalSeconds,
      oldestFinalSeconds: this.#queue.length === 0 ? 0 : this.seconds - this.#queue[0]!,
      finalDelaySeconds: longDelay(delays),
    };
  }

  /** One handshake. */
  ask(): boolean {
    const { isAdmitting, predictedShare } = this.admission.assess(this.load());
    if (!isAdmitting) return false;
    assert.ok(predictedShare <= 0.75 || this.streams === 0, 'never let in above the bound');
    this.#streams.add({
      nextFinal: this.seconds + 5 + scatter(this.#streams.size, this.seconds) * FINAL_EVERY_SECONDS,
      leave: this.admission.enter(),
    });
    return true;
  }

  leave(count: number): void {
    for (const stream of [...this.#streams].slice(0, count)) {
      // Its end makes what is left final.
      this.#queue.push(this.seconds);
      stream.leave();
      this.#streams.delete(stream);
    }
  }

  run(seconds: number, each: () => void = () => undefined): void {
    for (const until = this.seconds + seconds; this.seconds < until; this.seconds += STEP_SECONDS) {
      for (const stream of this.#streams) {
        if (stream.nextFinal > this.seconds) continue;
        this.#queue.push(this.seconds);
        stream.nextFinal += FINAL_EVERY_SECONDS;
      }
      for (const [engine, freeAt] of this.#freeAt.entries()) {
        for (let at = freeAt; at <= this.seconds && this.#queue.length > 0; ) {
          at = Math.max(at, this.#queue[0]!) + this.#machine.finalSeconds;
          this.#done.push({ at, submitted: this.#queue.shift()! });
          this.#freeAt[engine] = at;
        }
      }
      this.#done = this.#done.filter(({ at }) => at > this.seconds - 30);
      each();
    }
  }
}

const machines: fc.Arbitrary<Machine> = fc.record({
  engines: fc.integer({ min: 1, max: 8 }),
  finalSeconds: fc.double({ min: 0.05, max: 0.5, noNaN: true }),
});
const capacityOf = ({ engines, finalSeconds }: Machine): number => Math.floor((0.75 * engines * FINAL_EVERY_SECONDS) / finalSeconds + 1e-9);
/** Finals in 10 s come in whole numbers: the measured share of a stream is off by a third of it, of many by little. */
const slack = (capacity: number): number => 2 + 0.25 * capacity;

describe('admission', () => {
  test('lets no more of a burst in than fit, and one more always where nobody is', () => {
    fc.assert(
      fc.property(machines, (machine) => {
        const simulation = new Simulation(machine);
        const admitted = Array.from({ length: 100 }, () => simulation.ask()).filter(Boolean).length;
        const fit = Math.max(1, Math.min(100, capacityOf(machine)));
        assert.ok(admitted === fit || admitted === fit - 1, `${admitted} of ${fit}`);
      }),
    );
  });

  test('a burst that a balancer spreads over several servers is let in no more than one for one server', () => {
    for (const servers of [1, 2, 4]) {
      const load = { ...IDLE_LOAD, engines: 4, finalSeconds: 0.2, callers: servers };
      const admissions = Array.from({ length: servers }, () => new Admission(() => 1000));
      let admitted = 0;
      for (let i = 0; i < 400; i++) {
        const admission = admissions[i % servers] as Admission;
        if (!admission.assess(load).isAdmitting) continue;
        admission.enter();
        admitted++;
      }
      const fit = capacityOf({ engines: 4, finalSeconds: 0.2 } as Machine);
      assert.ok(admitted <= fit + servers && admitted >= fit - servers, `${admitted} of ${fit} by ${servers}`);
    }
  });

  test('a server that has just started, and gets all newcomers, does not take the others to have as many', () => {
    const servers = 10;
    const load = { ...IDLE_LOAD, engines: 100, finalSeconds: 0.2, callers: servers, finalShare: 0.5, finalShareOfOthers: 0.5 };
    const admission = new Admission(() => 1000);
    for (let i = 0; i < 80; i++) {
      assert.ok(admission.assess(load).isAdmitting, `after ${i}`);
      admission.enter();
    }
  });

  test('holds the load at the bound under pressure that never ends, without late finals', () => {
    fc.assert(
      fc.property(machines, fc.integer({ min: 1, max: 40 }), (machine, askEvery) => {
        const simulation = new Simulation(machine);
        const capacity = Math.max(1, capacityOf(machine));
        let n = 0;
        simulation.run(120, () => {
          if (n++ % askEvery === 0) simulation.ask();
          assert.ok(simulation.streams <= capacity + slack(capacity), `${simulation.streams} of ${capacity}`);
          if (simulation.offeredShare < 0.9) assert.ok(simulation.load().finalDelaySeconds <= 2 + 2 * machine.finalSeconds);
        });
        const asked = Math.floor(n / askEvery);
        assert.ok(simulation.streams >= Math.min(asked, capacity) - slack(capacity), `${simulation.streams} of ${capacity} after ${asked}`);
      }),
      { numRuns: 40 },
    );
  });

  test('follows streams that come and go: what is open fits, and what goes makes room', () => {
    fc.assert(
      fc.property(machines, fc.integer(), (machine, seed) => {
        const simulation = new Simulation(machine);
        const capacity = Math.max(1, capacityOf(machine));
        let n = 0;
        simulation.run(150, () => {
          n++;
          if (scatter(seed, n) < 0.2) simulation.ask();
          if (scatter(seed, n, 1) < 0.01) simulation.leave(1 + Math.floor(scatter(seed, n, 2) * simulation.streams));
          assert.ok(simulation.streams <= capacity + slack(capacity), `${simulation.streams} of ${capacity}`);
        });
        simulation.leave(simulation.streams);
        assert.ok(simulation.ask(), 'an idle service takes a stream at once');
        simulation.run(30);
        let more = 0;
        while (more < 100 && simulation.ask()) more++;
        assert.ok(more >= Math.min(100, capacity) - 1 - slack(capacity), `${more} of ${capacity}`);
      }),
      { numRuns: 40 },
    );
  });

  test('corrects a first guess that was wrong, by what finals then cost', () => {
    const machine = { engines: 2, finalSeconds: 0.15 };
    for (const guessSeconds of [0.1, 0.4]) {
      const simulation = new Simulation(machine, guessSeconds);
      let largest = 0;
      simulation.run(120, () => {
        simulation.ask();
        largest = Math.max(largest, simulation.streams);
      });
      assert.ok(simulation.streams >= 30, `${simulation.streams}`);
      assert.ok(largest <= (guessSeconds < 0.15 ? 51 : 38), `${largest}`);
    }
  });

  test('takes short dictations as often as they fit', () => {
    const now = { ms: 100_000 };
    const admission = new Admission(() => now.ms);
    // 20 streams of 5 s each at a time: 20 / 3.4 finals of 0.15 s a second, on two engines.
    const load = { ...IDLE_LOAD, finalShare: (20 * 0.15) / FINAL_EVERY_SECONDS / 2 };
    const open: { readonly until: number; readonly leave: () => void }[] = [];
    for (let n = 0; n < 200; n++, now.ms += 250) {
      while (open[0] !== undefined && open[0].until <= now.ms) open.shift()!.leave();
      const { isAdmitting, predictedShare } = admission.assess(n < 60 ? IDLE_LOAD : load);
      assert.ok(isAdmitting, `${n}: ${predictedShare}`);
      open.push({ until: now.ms + 5000, leave: admission.enter() });
    }
  });

  test('refuses while finals are late, whatever is predicted, and recovers by itself', () => {
    const admission = new Admission(() => 0);
    admission.enter();
    for (const late of [{ oldestFinalSeconds: 1.6 }, { finalDelaySeconds: 2.1 }]) {
      assert.equal(admission.assess({ ...IDLE_LOAD, ...late }).isAdmitting, false);
      assert.equal(admission.assess(IDLE_LOAD).isAdmitting, true);
    }
  });

  test('lets nobody in again before the prediction is clearly below the bound', () => {
    let nowMs = 0;
    const admission = new Admission(() => nowMs);
    for (let n = 0; n < 30; n++) admission.enter();
    nowMs = 60_000;
    const isAdmitting = (finalShare: number) => admission.assess({ ...IDLE_LOAD, finalShare }).isAdmitting;
    // 30 streams: one more adds a thirtieth.
    assert.deepEqual([0.7, 0.74, 0.7, 0.67, 0.7, 0.74].map(isAdmitting), [true, false, false, true, true, false]);
  });

  test('what others bring to shared engines neither leaves with our streams nor makes ours look dear', () => {
    let nowMs = 0;
    const admission = new Admission(() => nowMs);
    const leaves = Array.from({ length: 4 }, () => admission.enter());
    nowMs = 60_000;
    // Of two engines a stream takes 0.022; others have 30.
    const load = { ...IDLE_LOAD, finalShare: 34 * 0.022, finalShareOfOthers: 30 * 0.022 };
    assert.ok(Math.abs(admission.assess(load).predictedShare - 35 * 0.022) < 1e-3);
    for (const leave of leaves) leave();
    nowMs += 9_900;
    const alone = { ...load, finalShare: load.finalShareOfOthers };
    assert.ok(Math.abs(admission.assess(alone).predictedShare - 31 * 0.022) < 0.02);
  });

  test('says 5 s, and up to 30 the further above the bound', () => {
    let nowMs = 0;
    const admission = new Admission(() => nowMs);
    for (let n = 0; n < 30; n++) admission.enter();
    nowMs = 60_000;
    const retryAfter = (load: Partial<TranscriberLoad>) => admission.assess({ ...IDLE_LOAD, ...load }).retryAfterSeconds;
    assert.deepEqual([retryAfter({}), retryAfter({ finalShare: 0.73 })], [5, 5]);
    const between = retryAfter({ finalShare: 0.95 });
    assert.ok(between > 10 && between < 20, String(between));
    assert.equal(retryAfter({ finalDelaySeconds: 4 }), 30);
    assert.equal(retryAfter({ oldestFinalSeconds: 60 }), 30);
  });

  test('counts a stream out once, however often it leaves', () => {
    const admission = new Admission(() => 0);
    const [leave] = [admission.enter(), admission.enter()];
    leave();
    leave();
    assert.equal(admission.assess({ ...IDLE_LOAD, oldestFinalSeconds: 9 }).isAdmitting, false);
  });
});

test('files have room unless live speech takes nine tenths', () => {
  assert.deepEqual(
    [0, 0.9, 0.91].map((finalShare) => hasRoomForFiles({ ...IDLE_LOAD, finalShare })),
    [true, true, false],
  );
});
