// All manifests are what Kubernetes and the operators take: strictly, by their real schemas, so that a key that is misspelt is found here and
// not dropped in silence by a cluster.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kubectl } from '../kubectl.ts';
import { type KubernetesObject, readObjects, render, renderWith, validate } from './manifests.ts';

const KUSTOMIZATIONS = ['base', 'overlays/cpu', 'overlays/gpu', 'overlays/eks', 'eks/karpenter', 'monitoring'];

for (const folder of KUSTOMIZATIONS) {
  test(`deploy/${folder} is put together and valid`, async () => {
    const objects = await render(folder);
    assert.ok(objects.length > 0);
    assert.deepEqual(await validate(objects), []);
  });
}

test('GCS fault tolerance goes with each overlay', async () => {
  for (const overlay of ['overlays/cpu', 'overlays/gpu', 'overlays/eks']) {
    const objects = await renderWith(overlay, ['components/gcs-fault-tolerance']);
    assert.ok(objects.some(({ kind }) => kind === 'StatefulSet'));
    assert.deepEqual(await validate(objects), []);
  }
});

for (const file of ['namespace.yaml', 'eks/cluster.yaml']) {
  test(`deploy/${file} is valid`, async () => assert.deepEqual(await validate(await readObjects(file)), []));
}

test('objects of the service are in its namespace, and bear its mark', async () => {
  for (const { kind, metadata } of await render('overlays/eks')) {
    assert.equal(metadata.namespace, 'whisper-streaming', `${kind} ${metadata.name}`);
    assert.equal(metadata.labels?.['app.kubernetes.io/part-of'], 'whisper-streaming', `${kind} ${metadata.name}`);
  }
});

/** Where a mistake is planted: of which object, how, and what has to be said. */
const MISTAKES: ReadonlyArray<{ readonly kind: string; readonly text: string; readonly wrong: string; readonly said: RegExp }> = [
  {
    kind: 'RayService',
    text: '"rayClusterDeletionDelaySeconds"',
    wrong: '"rayClusterDeletionDelaySecs"',
    said: /rayClusterDeletionDelaySecs/,
  },
  { kind: 'RayService', text: '"readOnlyRootFilesystem"', wrong: '"readOnlyRootFileSystem"', said: /readOnlyRootFileSystem/ },
  { kind: 'RayService', text: '"matchLabelKeys"', wrong: '"matchLabelsKeys"', said: /matchLabelsKeys/ },
  { kind: 'RayService', text: '"version":"v2"', wrong: '"version":"2"', said: /'2' is not one of/ },
  { kind: 'NetworkPolicy', text: '"podSelector"', wrong: '"podselector"', said: /podselector/ },
  { kind: 'PodDisruptionBudget', text: '"minAvailable"', wrong: '"minReady"', said: /minReady/ },
  { kind: 'Ingress', text: '"pathType":"Prefix"', wrong: '"pathtype":"Prefix"', said: /'pathType' is a required/ },
  { kind: 'NodePool', text: '"consolidationPolicy":"WhenEmpty"', wrong: '"consolidationPolicy":"IfEmpty"', said: /IfEmpty/ },
  { kind: 'EC2NodeClass', text: '"volumeSize":"4Gi"', wrong: '"volumeSize":"4 Gi"', said: /4 Gi/ },
  { kind: 'ClusterConfig', text: '"withOIDC"', wrong: '"withOidc"', said: /withOidc/ },
  { kind: 'PodMonitor', text: '"podMetricsEndpoints"', wrong: '"podMetricEndpoints"', said: /podMetricEndpoints/ },
  { kind: 'PrometheusRule', text: '"expr"', wrong: '"exp"', said: /'exp' was unexpected/ },
];

test('a wrong key or value is found in every kind of object', async () => {
  const folders = ['overlays/eks', 'eks/karpenter', 'monitoring'];
  const objects = [...(await Promise.all(folders.map((folder) => render(folder)))).flat(), ...(await readObjects('eks/cluster.yaml'))];
  for (const { kind, said, text, wrong } of MISTAKES) {
    const right = objects
      .filter((one) => one.kind === kind)
      .map((one) => JSON.stringify(one))
      .find((one) => one.includes(text));
    assert.ok(right, `${kind} with ${text}`);
    const problems = await validate([JSON.parse(right.replaceAll(text, wrong)) as KubernetesObject]);
    assert.match(problems.join('\n'), said, `${kind}, ${wrong}`);
  }
});

test('an object of an unknown kind is no valid one', async () => {
  const unknown = { apiVersion: 'example.com/v1', kind: 'Nothing', metadata: { name: 'nothing' } };
  assert.match((await validate([unknown])).join('\n'), /Nothing nothing/);
});

test('the kubectl that npm has for machines without one puts the same together', async () => {
  const program = await kubectl({ packagedOnly: process.platform === 'linux' && process.arch === 'x64' });
  for (const folder of KUSTOMIZATIONS) assert.deepEqual(await render(folder, program), await render(folder), folder);
});
