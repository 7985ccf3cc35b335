// A process of its own that builds a model's graphs: node --import tsx test/build-process.ts MODEL_DIR GRAPHS_DIR [FILE].
// Prints the result. With FILE, the process kills itself just before that file of the build is written.

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const [modelDir = '', graphsDir = '', fatalFile] = process.argv.slice(2);
if (fatalFile !== undefined) {
  const { writeFileSync } = fs;
  fs.writeFileSync = (file, ...rest) => {
    if (String(file).endsWith(fatalFile)) process.kill(process.pid, 'SIGKILL');
    writeFileSync(file, ...rest);
  };
  syncBuiltinESMExports();
}
const { buildGraphs } = await import('../src/model/build-graphs.ts');
const { readModelConfig } = await import('../src/model/config.ts');
console.log(JSON.stringify(await buildGraphs({ modelDir, graphsDir, config: await readModelConfig(modelDir) })));
