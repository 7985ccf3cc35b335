// How many replicas find room on a Ray, by the logical CPUs and GPUs that they take.

import { cpusOf, type Deployment, gpusOf, type ServeConfig } from './serve-config.ts';

export interface Room {
  readonly cpus: number;
  /** Infinity where nobody knows. */
  readonly gpus: number;
}

/** What the least number of replicas of all applications asks for. */
export function leastRoom(config: ServeConfig): Room {
  const deployments = config.applications.flatMap((application) => application.deployments ?? []);
  const sum = (each: (deployment: Deployment) => number): number =>
    deployments.reduce((total, deployment) => total + leastReplicas(deployment) * each(deployment), 0);
  return { cpus: sum(cpusOf), gpus: sum(gpuPlaceOf) };
}

const leastReplicas = ({ autoscaling_config, num_replicas }: Deployment): number =>
  autoscaling_config?.min_replicas ?? (typeof num_replicas === 'number' ? num_replicas : 1);

/** A share is never spread over two GPUs: of 0.4 one holds two, and each takes half of it. */
function gpuPlaceOf(deployment: Deployment): number {
  const share = gpusOf(deployment);
  return share > 0 && share < 1 ? 1 / Math.floor(1 / share + ROUNDING) : share;
}

/** Shares as thirds are not exact. */
const ROUNDING = 1e-6;

/**
 * Lowers max_replicas to what finds room all at once: a replica that is wanted and can be nowhere makes a deployment look ill.
 *
 * @param first names of deployments that have their replicas before the others share what is left
 */
export function fitReplicas(config: ServeConfig, room: Room, first: readonly string[] = []): ServeConfig {
  const scaled = config.applications
    .flatMap(({ deployments = [] }) => deployments)
    .filter((deployment) => deployment.autoscaling_config?.max_replicas !== undefined && cpusOf(deployment) + gpusOf(deployment) > 0)
    // those that need most choose first: what they leave still holds one of the others
    .sort((one, other) => cpusOf(other) - cpusOf(one));
  const most = new Map(scaled.map((deployment) => [deployment, leastReplicas(deployment)]));
  const least = leastRoom(config);
  const free = { cpus: room.cpus - least.cpus, gpus: room.gpus - least.gpus };
  const addOne = (deployment: Deployment): boolean => {
    const replicas = (most.get(deployment) ?? 0) + 1;
    const isWanted = replicas <= (deployment.autoscaling_config?.max_replicas ?? 0);
    const [cpus, gpus] = [cpusOf(deployment), gpuPlaceOf(deployment)];
    if (!isWanted || cpus > free.cpus || gpus > free.gpus + ROUNDING) return false;
    most.set(deployment, replicas);
    free.cpus -= cpus;
    free.gpus -= gpus;
    return true;
  };
  // one each in turn, until nobody finds room
  const share = (deployments: readonly Deployment[]): void => {
    let hasAdded = true;
    while (hasAdded) {
      hasAdded = false;
      for (const deployment of deployments) hasAdded = addOne(deployment) || hasAdded;
    }
  };
  share(scaled.filter(({ name }) => first.includes(name)));
  share(scaled);
  const fit = (deployment: Deployment): Deployment => {
    const replicas = most.get(deployment);
    if (replicas === undefined) return deployment;
    return { ...deployment, autoscaling_config: { ...deployment.autoscaling_config, max_replicas: replicas } };
  };
  return {
    ...config,
    applications: config.applications.map((application) =>
      application.deployments === undefined ? application : { ...application, deployments: application.deployments.map(fit) },
    ),
  };
}
