// A process of its own that locates the fake hub's model: node --import tsx test/locate-process.ts CACHE ENDPOINT. Prints the result.

import { locateModel } from '../src/model/locate.ts';
import { FAKE_REPOSITORY } from './fake-hub.ts';

const [cacheDir, endpoint] = process.argv.slice(2);
console.log(JSON.stringify(await locateModel(FAKE_REPOSITORY, { cacheDir, hub: { endpoint } })));
