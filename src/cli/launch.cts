#!/usr/bin/env node
// The command's entry: sets what V8 and libraries read once, when they start, then runs the command line.

// Each live stream of container audio holds a thread of libuv's pool while FFmpeg waits for bytes. The pool is fixed when it is first
// used, and loading an ES module uses it: so this is CommonJS, which is read without it. On Windows the C library has copied its
// variables by then; there the user sets this one.
if (process.platform !== 'win32') process.env.UV_THREADPOOL_SIZE ||= '64';

// onnxruntime tells its maker of sessions and models, and leaves an identifier on disk, unless this is set before it is loaded.
process.env.ORT_DISABLE_TELEMETRY ||= '1';

// From Hopper on, onnxruntime prefers cuDNN's attention in float16, which compiles a plan for each new shape: about a second where every
// batch of windows has a shape of its own (docs/gpu.md).
process.env.ORT_ENABLE_CUDNN_FLASH_ATTENTION ||= '0';

// Results of onnxruntime count as new memory to V8, which therefore marks an engine's heap several times a second. Done on other threads at
// the same time, that takes twice as much of the processors, which engines need (ARCHITECTURE.md, "Threads").
process.getBuiltinModule('node:v8').setFlagsFromString('--no-concurrent-marking');

void import('./main.ts');
