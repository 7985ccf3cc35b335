// What no schema sees: names, ports, labels, resources and times in deploy/ that have to agree with each other, with Ray and with the service.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { before, test } from 'node:test';
import { rayEnvironment } from '../../src/cli/ray/ray-environment.ts';
import { parseServeConfig, type ServeConfig, streamTimes } from '../../src/cli/ray/serve-config.ts';
import {
  type Container,
  environmentOf,
  find,
  type KubernetesObject,
  type PodGroup,
  podGroup,
  podGroups,
  readObjects,
  render,
  renderWith,
} from './manifests.ts';

const OVERLAYS = ['overlays/cpu', 'overlays/gpu', 'overlays/eks'] as const;
const GROUP_OF_DEPLOYMENT: Readonly<Record<string, string>> = { TranscriptionServer: 'server', WhisperASR: 'asr' };
/** By these KubeRay's Services find the pods; a template that has them takes itself out. */
const KUBERAY_LABELS = ['app.kubernetes.io/name', 'app.kubernetes.io/created-by'];
const SERVER_PING_SECONDS = 20;

let rendered: ReadonlyMap<string, KubernetesObject[]>;

before(async () => {
  rendered = new Map(await Promise.all(OVERLAYS.map(async (overlay) => [overlay, await render(overlay)] as const)));
});

function forEachOverlay(
  name: string,
  check: (objects: KubernetesObject[], config: ServeConfig, overlay: string) => void | Promise<void>,
): void {
  for (const overlay of OVERLAYS) {
    test(`${overlay}: ${name}`, async () => {
      const objects = rendered.get(overlay) ?? [];
      await check(objects, parseServeConfig(find(objects, 'RayService').spec.serveConfigV2, overlay), overlay);
    });
  }
}

const containers = ({ template }: PodGroup): Container[] => [...(template.spec.initContainers ?? []), ...template.spec.containers];
const portOf = (group: PodGroup, name: string): number | undefined =>
  group.template.spec.containers[0].ports?.find((port) => port.name === name)?.containerPort;

function deployments(config: ServeConfig) {
  return (config.applications[0]?.deployments ?? []).map((deployment) => {
    const options = deployment.ray_actor_options as { num_cpus: number; num_gpus?: number; resources: Record<string, number> };
    const scaling = deployment.autoscaling_config as { min_replicas: number; max_replicas: number };
    return { name: deployment.name, options, scaling, graceSeconds: Number(deployment.graceful_shutdown_timeout_s) };
  });
}

forEachOverlay('the Services are whisper-streaming-serve-svc:8000 and whisper-streaming-head-svc:8265', (objects, config) => {
  const { metadata, spec } = find(objects, 'RayService');
  // KubeRay's rule, under these conditions
  assert.equal(metadata.name, 'whisper-streaming');
  assert.equal(spec.upgradeStrategy.type, 'NewCluster');
  assert.equal(spec.rayClusterConfig.headGroupSpec.headService, undefined);
  assert.equal(spec.serveService.metadata.name, `${metadata.name}-serve-svc`);
  const head = podGroup(objects, 'head');
  assert.equal(portOf(head, 'serve'), config.http_options?.port);
  assert.equal(portOf(head, 'dashboard'), 8265);
  for (const label of KUBERAY_LABELS) for (const group of podGroups(objects)) assert.ok(!(label in (group.template.metadata.labels ?? {})));
});

forEachOverlay('streams come in by pods with a TranscriptionServer only', (objects, config) => {
  const { spec } = find(objects, 'RayService');
  const [port, ...others] = spec.serveService.spec.ports;
  assert.deepEqual(others, []);
  assert.equal(port.port, config.http_options?.port);
  assert.equal(portOf(podGroup(objects, 'server'), port.targetPort), config.http_options?.port);
  assert.equal(portOf(podGroup(objects, 'asr'), port.targetPort), undefined);
  assert.equal(spec.excludeHeadPodFromServeSvc, true);
});

forEachOverlay('every deployment has room on pods of its group, and on no others', (objects, config) => {
  for (const { name, options, scaling } of deployments(config)) {
    const ours = podGroup(objects, GROUP_OF_DEPLOYMENT[name] ?? '');
    const [resource, ...more] = Object.keys(options.resources);
    assert.ok(resource !== undefined && more.length === 0);
    const slots = Math.min(
      Number(ours.resources?.[resource]) / (options.resources[resource] ?? 1),
      Math.floor(Number(ours.resources?.CPU) / options.num_cpus),
      options.num_gpus ? Math.floor(Number(ours.resources?.GPU ?? 0) / options.num_gpus) : Infinity,
    );
    assert.equal(slots, 1, `${name}: one replica a pod`);
    assert.ok(scaling.min_replicas >= Math.max(1, ours.minReplicas), `${name}: pods without a replica`);
    assert.equal(scaling.max_replicas, ours.maxReplicas, name);
    for (const other of podGroups(objects)) {
      if (other !== ours) assert.ok(!(resource in (other.resources ?? {})), `${other.groupName} has ${resource}`);
    }
  }
});

forEachOverlay('the head takes no work', (objects) => {
  const { resources, rayStartParams } = podGroup(objects, 'head');
  assert.equal(rayStartParams['num-cpus'], '0');
  assert.equal(rayStartParams['num-gpus'], '0');
  assert.equal(resources, undefined);
});

forEachOverlay('what Ray is told of a pod is what Kubernetes gives it', (objects) => {
  for (const group of podGroups(objects)) {
    const { limits, requests } = group.template.spec.containers[0].resources;
    assert.equal(limits['nvidia.com/gpu'], group.resources?.GPU, group.groupName);
    assert.equal(requests['nvidia.com/gpu'], group.resources?.GPU, group.groupName);
    const cpus = requests.cpu?.endsWith('m') ? Number.parseInt(requests.cpu, 10) / 1000 : Number(requests.cpu);
    assert.ok(cpus > Number(group.resources?.CPU ?? 0), `${group.groupName}: ${cpus}`);
    assert.equal(requests.memory, limits.memory, group.groupName);
    assert.equal(limits.cpu, undefined, group.groupName);
  }
});

forEachOverlay('each time is longer than the one before it', (objects, config, overlay) => {
  const { drainSeconds, maxStreamSeconds } = streamTimes(config);
  const { spec } = find(objects, 'RayService');
  for (const name of ['server', 'asr']) {
    const { spec: pod } = podGroup(objects, name).template;
    const environment = environmentOf(pod.containers[0]);
    const reachable = Number(environment.RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S);
    const grace = Math.max(...deployments(config).map(({ graceSeconds }) => graceSeconds));
    const nodeDrain = Number(environment.RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S);
    const times = [drainSeconds, reachable, grace, nodeDrain, pod.terminationGracePeriodSeconds, spec.rayClusterDeletionDelaySeconds];
    for (const [index, time] of times.entries()) if (index > 0) assert.ok(time > (times[index - 1] ?? 0), `${name}: ${times.join(' < ')}`);
  }
  // on EKS the load balancer is what ends streams of a former cluster
  if (overlay !== 'overlays/eks') assert.ok(spec.rayClusterDeletionDelaySeconds > maxStreamSeconds);
  assert.ok(podGroup(objects, 'head').template.spec.terminationGracePeriodSeconds > 30, "Ray's own drain");
});

forEachOverlay('every Ray process has the environment that it has on one machine', (objects, config) => {
  const { PYTHONPATH: _image, ...expected } = rayEnvironment({ inherited: {}, ...streamTimes(config) });
  for (const group of podGroups(objects)) {
    const environment = environmentOf(group.template.spec.containers[0]);
    for (const [name, value] of Object.entries(expected)) assert.equal(environment[name], value, `${group.groupName}: ${name}`);
  }
});

forEachOverlay('pods run without privileges, and write only to their volumes', (objects, config) => {
  const { autoscalerOptions } = find(objects, 'RayService').spec.rayClusterConfig;
  for (const group of podGroups(objects)) {
    const { spec } = group.template;
    assert.deepEqual(spec.securityContext, {
      runAsNonRoot: true,
      runAsUser: 1000,
      runAsGroup: 1000,
      fsGroup: 1000,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    for (const { name, securityContext } of [
      ...containers(group),
      { name: 'autoscaler', securityContext: autoscalerOptions.securityContext },
    ]) {
      const restricted = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } };
      assert.deepEqual(securityContext, restricted, `${group.groupName}: ${name}`);
    }
    assert.equal(spec.enableServiceLinks, false, group.groupName);
    assert.ok(
      spec.containers[0].volumeMounts.some(({ mountPath }) => mountPath === '/tmp'),
      group.groupName,
    );
    if (group.groupName !== 'head') assert.equal(spec.automountServiceAccountToken, false, group.groupName);
  }
  const cache = config.applications[0]?.args?.cache;
  assert.ok(podGroup(objects, 'asr').template.spec.containers[0].volumeMounts.some(({ mountPath }) => mountPath === cache));
});

forEachOverlay('no Secret has to be there', (objects) => {
  const references = podGroups(objects)
    .flatMap(containers)
    .flatMap(({ env = [] }) => env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? []));
  assert.equal(references.length, 2);
  for (const { optional } of references) assert.equal(optional, true);
});

forEachOverlay('budgets, policies and spreading select the pods that they are meant for', (objects) => {
  const selected = (labels: Record<string, string>): string[] =>
    podGroups(objects)
      .filter(({ template }) => Object.entries(labels).every(([key, value]) => template.metadata.labels?.[key] === value))
      .map(({ groupName }) => groupName);
  for (const name of ['head', 'server', 'asr']) {
    assert.deepEqual(selected(find(objects, 'PodDisruptionBudget', `whisper-streaming-${name}`).spec.selector.matchLabels), [name]);
    for (const { labelSelector } of podGroup(objects, name).template.spec.topologySpreadConstraints ?? []) {
      assert.deepEqual(selected(labelSelector.matchLabels), [name]);
    }
  }
  const policy = (name: string) => find(objects, 'NetworkPolicy', `whisper-streaming-${name}`).spec;
  assert.deepEqual(selected(policy('ray').podSelector.matchLabels), ['head', 'server', 'asr']);
  assert.deepEqual(selected(policy('ray').ingress[0].from[0].podSelector.matchLabels), ['head', 'server', 'asr']);
  assert.deepEqual(selected(policy('operator').podSelector.matchLabels), ['head']);
  assert.deepEqual(selected(policy('clients').podSelector.matchLabels), ['server']);
});

forEachOverlay('anyone reaches port 8000 and nothing else; Prometheus the ports of metrics', (objects, config) => {
  const rules = objects.filter(({ kind }) => kind === 'NetworkPolicy').flatMap(({ spec }) => spec.ingress ?? []);
  const ports = (rule: { ports?: Array<{ port: number }> }): number[] | undefined => rule.ports?.map(({ port }) => port);
  assert.deepEqual(rules.filter(({ from }) => from === undefined).map(ports), [[config.http_options?.port]]);
  const monitoring = rules.filter(({ from }) => JSON.stringify(from ?? '').includes('"monitoring"'));
  assert.deepEqual(monitoring.map(ports), [
    [portOf(podGroup(objects, 'server'), 'metrics'), portOf(podGroup(objects, 'server'), 'haproxy-metrics')],
  ]);
  const anyPort = rules.filter((rule) => rule.ports === undefined);
  assert.deepEqual(
    anyPort.map(({ from }) => from.every((one: object) => Object.keys(one).join() === 'podSelector')),
    [true],
  );
});

forEachOverlay('versions are those of the package and of its Ray', async (objects) => {
  const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
  const [, ray] = /ray\[serve\]==([\d.]+)/.exec(await readFile(new URL('../../python/pyproject.toml', import.meta.url), 'utf8')) ?? [];
  assert.equal(find(objects, 'RayService').spec.rayClusterConfig.rayVersion, ray);
  for (const group of podGroups(objects)) {
    const target = group.resources?.GPU === undefined ? 'cpu' : 'gpu';
    for (const { image } of containers(group)) assert.equal(image, `whisper-streaming:${version}-${target}`);
  }
});

test('Prometheus is told of every pod, and of ports that are there', async () => {
  const { podMetricsEndpoints, selector } = find(await render('monitoring'), 'PodMonitor').spec;
  for (const group of podGroups(rendered.get('overlays/gpu') ?? [])) {
    for (const [key, value] of Object.entries(selector.matchLabels))
      assert.equal(group.template.metadata.labels?.[key], value, group.groupName);
    for (const { port } of podMetricsEndpoints) assert.ok(portOf(group, port) !== undefined, `${group.groupName}: ${port}`);
  }
});

forEachOverlay('recognisers with a GPU fail where it cannot be used, those without look for none', (_objects, config) => {
  const recogniser = deployments(config).find(({ name }) => name === 'WhisperASR');
  assert.equal(config.applications[0]?.args?.device, recogniser?.options.num_gpus === 0 ? 'cpu' : 'cuda');
  for (const { name, options } of deployments(config)) if (name !== 'WhisperASR') assert.equal(options.num_gpus ?? 0, 0, name);
});

test('only recognisers of the overlays gpu and eks take GPUs', () => {
  const gpus = (overlay: string): string[] =>
    podGroups(rendered.get(overlay) ?? []).flatMap(({ groupName, resources }) => (resources?.GPU === undefined ? [] : [groupName]));
  assert.deepEqual(OVERLAYS.map(gpus), [[], ['asr'], ['asr']]);
});

test("Karpenter's nodes are what the pods ask for, and enough of them", async () => {
  const pools = await render('eks/karpenter');
  const pool = find(pools, 'NodePool', 'whisper-streaming-gpu').spec;
  const { maxReplicas, template } = podGroup(rendered.get('overlays/eks') ?? [], 'asr');
  const { metadata, spec } = pool.template;
  for (const [key, value] of Object.entries(template.spec.nodeSelector)) {
    const requirement = spec.requirements.find((one: { key: string; values: string[] }) => one.key === key);
    assert.ok(metadata.labels[key] === value || requirement?.values.includes(value), key);
  }
  for (const { effect, key } of spec.taints) {
    assert.ok(
      template.spec.tolerations?.some((one) => one.key === key && one.effect === effect && one.operator === 'Exists'),
      key,
    );
  }
  assert.ok(Number(pool.limits['nvidia.com/gpu']) >= maxReplicas);
  for (const one of pools.filter(({ kind }) => kind === 'NodePool')) {
    assert.equal(one.spec.template.spec.nodeClassRef.name, find(pools, 'EC2NodeClass').metadata.name);
  }
});

test('names in the files for EKS follow each other', async () => {
  const [cluster] = await readObjects('eks/cluster.yaml');
  const node = find(await render('eks/karpenter'), 'EC2NodeClass').spec;
  const { metadata } = cluster as unknown as { metadata: { name: string; tags: Record<string, string> } };
  assert.equal(node.instanceProfile, `eksctl-KarpenterNodeInstanceProfile-${metadata.name}`);
  assert.deepEqual(node.subnetSelectorTerms, [{ tags: metadata.tags }]);
  assert.deepEqual(node.securityGroupSelectorTerms, [{ tags: metadata.tags }]);
});

test('the load balancer waits for slow answers, and keeps streams of a former cluster as long as that is there', () => {
  const objects = rendered.get('overlays/eks') ?? [];
  const { metadata, spec } = find(objects, 'Ingress');
  const annotation = (name: string): string => metadata.annotations?.[`alb.ingress.kubernetes.io/${name}`] ?? '';
  const seconds = (text: string, name: string): number => Number(new RegExp(`${name}=(\\d+)`).exec(text)?.[1]);
  const service = find(objects, 'RayService').spec;
  const idle = seconds(annotation('load-balancer-attributes'), 'idle_timeout.timeout_seconds');
  assert.ok(idle > SERVER_PING_SECONDS && idle <= 4000, `${idle}`);
  const deregistration = seconds(annotation('target-group-attributes'), 'deregistration_delay.timeout_seconds');
  assert.ok(deregistration <= 3600 && deregistration < service.rayClusterDeletionDelaySeconds);
  for (const json of ['listen-ports', 'actions.not-found']) assert.ok(JSON.parse(annotation(json)));
  const backends = spec.rules[0].http.paths.map((path: { backend: { service: object } }) => path.backend.service);
  assert.deepEqual(backends.at(-1), { name: service.serveService.metadata.name, port: { number: 8000 } });
});

test('with GCS fault tolerance the head may move, and reaches its Redis', async () => {
  const objects = await renderWith('overlays/cpu', ['components/gcs-fault-tolerance']);
  const { gcsFaultToleranceOptions } = find(objects, 'RayService').spec.rayClusterConfig;
  const redis = find(objects, 'Service', 'whisper-streaming-redis');
  assert.equal(gcsFaultToleranceOptions.redisAddress, `${redis.metadata.name}:${redis.spec.ports[0].port}`);
  assert.equal(find(objects, 'PodDisruptionBudget', 'whisper-streaming-head').spec.minAvailable, 0);
  const set = find(objects, 'StatefulSet').spec;
  assert.deepEqual(redis.spec.selector, set.template.metadata.labels);
  assert.deepEqual(find(objects, 'NetworkPolicy', redis.metadata.name).spec.podSelector.matchLabels, set.template.metadata.labels);
  const way = find(objects, 'NetworkPolicy', 'whisper-streaming-head-to-redis').spec.egress[0];
  assert.deepEqual(way.to[0].podSelector.matchLabels, set.template.metadata.labels);
});
