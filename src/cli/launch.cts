#!/usr/bin/env node
// The command's entry: sets what libraries read from the environment when they are loaded, then runs the command line.
//
// Each live stream of container audio holds a thread of that pool while FFmpeg waits for bytes. The pool is fixed when it is first
// used, and loading an ES module uses it: so this is CommonJS, which is read without it. On Windows the C library has copied its
// variables by then; there the user sets this one.

if (process.platform !== 'win32') process.env.UV_THREADPOOL_SIZE ||= '64';

// onnxruntime tells its maker of sessions and models, and leaves an identifier on disk, unless this is set before it is loaded.
process.env.ORT_DISABLE_TELEMETRY ||= '1';

// From Hopper on, onnxruntime prefers cuDNN's attention in float16, which compiles a plan for each new shape: about a second where every
// batch of windows has a shape of its own (docs/gpu.md).
process.env.ORT_ENABLE_CUDNN_FLASH_ATTENTION ||= '0';

void import('./main.ts');
