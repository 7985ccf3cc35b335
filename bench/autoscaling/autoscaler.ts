// Ray Serve's decision on a number of replicas: the rule of ray/serve/autoscaling_policy.py (2.60) for ongoing requests.
//
// autoscaler.test.ts runs Ray's own functions beside it. What serve.yaml does not set (scaling factors, scaling to zero) is left out.

import { z } from 'zod';

export interface AutoscalingConfig {
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly targetOngoingRequests: number;
  /** The mean over this time counts. */
  readonly lookBackSeconds: number;
  /** The numbers are reported so often. */
  readonly metricsIntervalSeconds: number;
  /** The wish for more must last so long before it is fulfilled. */
  readonly upscaleDelaySeconds: number;
  readonly downscaleDelaySeconds: number;
}

/** As in a serve.yaml. Strict: a key that changes Serve's decisions and not ours would make the simulation lie. */
const schema = z.strictObject({
  min_replicas: z.int().min(1),
  max_replicas: z.int().min(1),
  target_ongoing_requests: z.number().positive(),
  look_back_period_s: z.number().positive(),
  metrics_interval_s: z.number().positive(),
  upscale_delay_s: z.number().min(0),
  downscale_delay_s: z.number().min(0),
});

/** @param value `autoscaling_config` of a deployment */
export function readAutoscaling(value: unknown): AutoscalingConfig {
  const config = schema.parse(value);
  return {
    minReplicas: config.min_replicas,
    maxReplicas: config.max_replicas,
    targetOngoingRequests: config.target_ongoing_requests,
    lookBackSeconds: config.look_back_period_s,
    metricsIntervalSeconds: config.metrics_interval_s,
    upscaleDelaySeconds: config.upscale_delay_s,
    downscaleDelaySeconds: config.downscale_delay_s,
  };
}

/** Ray's tolerance for differences of large times. */
const EPSILON_SECONDS = 1e-6;

/**
 * Replicas that the load asks for, before delays and bounds.
 * @param ongoing requests that run or wait in all replicas, the mean over the look-back
 * @param running replicas that serve; 0: none can say anything, and the target stays
 */
export function desiredReplicas(ongoing: number, running: number, target: number, config: AutoscalingConfig): number {
  if (running === 0) return target;
  // in Ray's order of operations, for what the ceiling makes of a rounding error
  const desired = running * (ongoing / (config.targetOngoingRequests * running));
  return Math.ceil(running + (desired - running));
}

export class Autoscaler {
  readonly #config: AutoscalingConfig;
  #target: number;
  #direction: -1 | 0 | 1 = 0;
  #sinceSeconds = 0;

  constructor(config: AutoscalingConfig) {
    this.#config = config;
    this.#target = config.minReplicas;
  }

  /** Replicas that there should be. */
  get target(): number {
    return this.#target;
  }

  /** To be asked often: Serve does so every 0.1 s. @returns the new target */
  decide(ongoing: number, running: number, nowSeconds: number): number {
    const { downscaleDelaySeconds, maxReplicas, minReplicas, upscaleDelaySeconds } = this.#config;
    const desired = desiredReplicas(ongoing, running, this.#target, this.#config);
    const direction = Math.sign(desired - this.#target) as -1 | 0 | 1;
    if (direction !== this.#direction) this.#sinceSeconds = nowSeconds;
    this.#direction = direction;
    const delay = direction > 0 ? upscaleDelaySeconds : downscaleDelaySeconds;
    if (direction !== 0 && nowSeconds - this.#sinceSeconds + EPSILON_SECONDS >= delay) {
      this.#target = Math.max(minReplicas, Math.min(maxReplicas, desired));
      // the next wish has to last as long again
      this.#direction = 0;
    }
    return this.#target;
  }
}
