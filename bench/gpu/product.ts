// The package that is measured: dist/ as it was built, or the sources behind it. Its types are the sources'.

interface Modules {
  'audio/container': typeof import('../../src/audio/container.ts');
  'cli/device-memory': typeof import('../../src/cli/device-memory.ts');
  'engine/create': typeof import('../../src/engine/create.ts');
  'engine/device': typeof import('../../src/engine/device.ts');
  'engine/window-session': typeof import('../../src/engine/window-session.ts');
  'model/build-graphs': typeof import('../../src/model/build-graphs.ts');
  'model/config': typeof import('../../src/model/config.ts');
  'model/onnx-graph': typeof import('../../src/model/onnx-graph.ts');
}

/** `sources` runs through tsx; slower to start, and needs no build. */
export type Origin = 'dist' | 'sources';

export async function product<Name extends keyof Modules>(from: Origin, name: Name): Promise<Modules[Name]> {
  const file = from === 'dist' ? `../../dist/${name}.js` : `../../src/${name}.ts`;
  return (await import(new URL(file, import.meta.url).href)) as Modules[Name];
}
