// `npm start`: builds, then runs the command line in this same process, so that signals and standard streams are its own.
//
// A prestart script would not do: npm leaves it out where ignore-scripts is set, as .npmrc sets it here. CommonJS for the launcher's
// sake: nothing before it may use libuv's pool. package.json puts `exec` before it, for a shell in between would die of npm's SIGTERM and
// leave the service behind; Windows has no exec: there, run this file itself.

const { spawnSync } = require('node:child_process');
const { join } = require('node:path');

const build = spawnSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit', shell: process.platform === 'win32' });
// a path, not a literal: the linter takes it for a source to be imported with its own extension
if (build.status === 0) require(join(__dirname, '../dist/cli/launch.cjs'));
else process.exitCode = 1;
