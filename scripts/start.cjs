// `npm start`: builds, then runs the command line in this same process, so that signals and standard streams are its own.
//
// A prestart script would not do: npm leaves it out where ignore-scripts is set, as .npmrc sets it here. CommonJS for the launcher's
// sake: nothing before it may use libuv's pool.

const { spawnSync } = require('node:child_process');

const build = spawnSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit', shell: process.platform === 'win32' });
if (build.status === 0) require('../dist/cli/launch.cjs.cts');
else process.exitCode = 1;
