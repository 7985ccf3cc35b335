// npm run bench: accuracy, word times, speed and processor time of the service, side by side with faster-whisper.

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ServerProcess } from '../test/server-process.ts';
import { benchClips } from './corpus.ts';
import { type ClipResult, measureClips, measurePaced } from './measure.ts';
import { type BenchOptions, parseBenchOptions } from './options.ts';
import { benchPython, PythonWorker } from './python.ts';
import { environmentOf, formatTable, writeResult } from './report.ts';
import { fasterWhisper, postFile, type Service } from './systems.ts';
import { tableRows } from './targets.ts';

const execute = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));

/** The folder that the service loads its weights from, so that both systems run the same numbers. */
async function referenceModelFolder(options: BenchOptions): Promise<string> {
  if (options.referenceModel !== null) return options.referenceModel;
  const { stdout } = await execute(process.execPath, ['dist/cli/launch.cjs', 'models', 'path', options.model], { cwd: root });
  const folder = stdout.trim().split('\n').at(-1) ?? '';
  if (!existsSync(`${folder}/model.bin`))
    throw new Error(`no model.bin in ${folder}: give --reference-model a folder with CTranslate2 weights`);
  return folder;
}

/** One request to each, so that no first clip pays for a cold cache. */
async function warmUp(service: Service, reference: PythonWorker, clips: Awaited<ReturnType<typeof benchClips>>): Promise<void> {
  const clip = clips.find(({ seconds }) => seconds < 60) ?? clips[0]!;
  await postFile(service, clip.file, 'en');
  await fasterWhisper(reference, clip, { beam: 5, language: 'en' });
}

function detailsOf(results: readonly ClipResult[]): unknown[] {
  return results.map(({ clip, outcomes }) => ({
    name: clip.name,
    set: clip.set,
    seconds: clip.seconds,
    outcomes: Object.fromEntries(
      // Results are kept in the repository, and what is said in a recording is its owner's.
      Object.entries(outcomes).map(([system, { text: _, words: __, ...rest }]) => [system, rest]),
    ),
  }));
}

async function bench(options: BenchOptions): Promise<number> {
  const clips = await benchClips(options);
  if (clips.length === 0) throw new Error(`no clips of ${options.sets.join(', ')} in ${options.corpora.join(', ')}`);
  const progress = (text: string): void => console.error(text);
  progress('Python environment');
  const python = await benchPython();
  const reference = new PythonWorker(python, 'faster_whisper_worker.py', { OMP_NUM_THREADS: String(options.threads) });
  const scorer = new PythonWorker(python, 'score.py');
  const args = ['--engines', String(options.threads), '--model', options.model];
  const server = options.url === null ? await ServerProcess.start({ entry: 'compiled', args }) : null;
  try {
    const service: Service = server === null ? { url: options.url ?? '', usage: null } : { url: server.url, usage: () => server.usage() };
    const model = await referenceModelFolder(options);
    const { versions } = await reference.request<{ versions: Record<string, string> }>({ op: 'load', model, threads: options.threads });
    const environment = await environmentOf(versions);
    await warmUp(service, reference, clips);
    const measure = { service, reference, quick: options.quick, progress };
    const results = await measureClips(clips, measure);
    const paced = await measurePaced(results, measure);
    const rows = await tableRows(results, paced, scorer);
    console.log(formatTable(rows));
    const residentMB = server === null ? null : Math.round(server.usage().residentBytes / 2 ** 20);
    if (residentMB !== null) console.log(`resident memory at the end: ${residentMB} MB`);
    console.log(
      await writeResult(options.out, options.quick ? 'quick' : 'main', { environment, rows, paced, residentMB, clips: detailsOf(results) }),
    );
    return options.strict && rows.some(({ pass }) => pass === false) ? 1 : 0;
  } finally {
    reference.close();
    scorer.close();
    await server?.stop();
  }
}

const parsed = parseBenchOptions(process.argv.slice(2));
if ('help' in parsed) console.log(parsed.help);
else process.exitCode = await bench(parsed.options);
