#!/usr/bin/env node
// The command's entry: sizes libuv's thread pool, then runs the command line.
//
// Each live stream of container audio holds a thread of that pool while FFmpeg waits for bytes. The pool is fixed when it is first
// used, and loading an ES module uses it: so this is CommonJS, which is read without it. On Windows the C library has copied its
// variables by then; there the user sets this one.

if (process.platform !== 'win32') process.env.UV_THREADPOOL_SIZE ||= '64';

void import('./main.ts');
