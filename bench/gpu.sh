#!/usr/bin/env bash
# What a GPU makes of the models: batches, steps, live streams, and transformers beside them. Run --help, and read the section GPU of README.md.
set -euo pipefail

usage() {
  cat <<'HELP'
bench/gpu.sh [options]

Measures the built package on one device, within a budget of time and without a network: batches of windows from 1 to 64, a step of the
decoder beside what the device's memory allows, how many live streams get their words in time, and PyTorch's transformers on the same
sizes where it is installed. Sizes other than base have random weights: as fast as trained ones, and worth nothing as text. Writes JSON
and a plot, after every stage what is known by then.

  --device NAME         cuda, webgpu or cpu (default cuda)
  --models A,B          of toy, tiny, base, small, large-v3, large-v3-turbo, distil-large-v3 (default base,small,large-v3-turbo)
  --precisions A,B      of float16, float32 (default both, the second with the time that is left over; cpu: float32)
  --measure A,B         of scaling, peer, served, streams (default all)
  --batches A,B         windows in a batch (default 1,2,4,8,16,32,64)
  --budget-seconds N    all is planned to fit (default 480, at least 30)
  --rung-seconds N      audio of each number of streams that is tried (default 16, at least 8)
  --max-streams N       no more are tried (default 2000 served, 8192 of recorded windows)
  --chunk N             chunk_duration of served streams, and what the bound of words goes by (default 5)
  --engines N --max-batch N --device-memory MIB     as for serve (default: the service's own)
  --model-dir DIR       published weights of base (default: those in the service's cache; without any, base is random, too, and not served)
  --speech DIR          what served streams say: .s16le files, mono, 16 kHz (default: the recording in docs/)
  --python FILE         with torch and transformers (default python3); nothing is installed
  --skip-peer           without transformers
  --from dist|sources   what is measured (default dist, as npm run build made it)
  --out DIR             (default $OUT, else bench/results)
  --help

CUDA needs libonnxruntime_providers_cuda.so and _shared.so beside onnxruntime-node's libonnxruntime.so.1, and CUDA's and cuDNN's
libraries: on the loader's path, or as the nvidia-* packages of --python's Python, which are found by themselves.
HELP
}

fail() {
  echo "error: $*" >&2
  exit 1
}

device=cuda from=dist python=python3
arguments=("$@")
for ((i = 0; i < ${#arguments[@]}; i++)); do
  argument=${arguments[i]}
  value=${arguments[i + 1]:-}
  case $argument in
    --help | -h)
      usage
      exit 0
      ;;
    --*=*) value=${argument#*=} argument=${argument%%=*} ;;
  esac
  case $argument in
    --device) device=$value ;;
    --from) from=$value ;;
    --python) python=$value ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
[[ -n ${OUT:-} ]] && mkdir -p "$OUT"

command -v node >/dev/null || fail "node is not on the PATH; Node 20.19 or newer is needed"
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
  fail "Node is $(node --version); 20.19 or newer is needed"
for package in onnxruntime-node tsx; do
  [[ -d node_modules/$package ]] || fail "node_modules/$package is not there; npm ci installs it"
done
if [[ $from == dist ]]; then
  [[ -f dist/cli/launch.cjs && -f dist/engine/window-session.js ]] || fail "dist/ is not there or older than the sources; npm run build makes it"
fi

# Folders of pip's nvidia-* packages with libraries in them, colon after colon.
pip_libraries() {
  "$python" - <<'PYTHON' 2>/dev/null || true
import glob, os, sysconfig
roots = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
print(":".join(sorted({d for r in roots for d in glob.glob(os.path.join(r, "nvidia", "*", "lib"))})))
PYTHON
}

if [[ $device == cuda ]]; then
  [[ $(uname -s)-$(uname -m) == Linux-x86_64 ]] || fail "onnxruntime-node has CUDA on Linux x86-64 only; --device webgpu may work here"
  bin=$(echo node_modules/onnxruntime-node/bin/napi-v*/linux/x64)
  for library in cuda shared; do
    [[ -f $bin/libonnxruntime_providers_$library.so ]] ||
      fail "$bin/libonnxruntime_providers_$library.so is not there; docs/gpu.md tells where to get it, bench/README.md how without a network"
  done
  libraries=$(pip_libraries)
  [[ -z $libraries ]] || export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries
  missing=$(ldd "$bin/libonnxruntime_providers_cuda.so" 2>/dev/null | awk '/not found/ { print $1 }' | sort -u | tr '\n' ' ')
  [[ -z $missing ]] || fail "the loader does not find ${missing% } (libcuda.so.1 is the driver's); set LD_LIBRARY_PATH, or --python to a Python with the nvidia-* packages"
fi

# As src/cli/launch.cts sets them, the size of libuv's pool among them, which is settled when Node starts.
export UV_THREADPOOL_SIZE=${UV_THREADPOOL_SIZE:-64} ORT_DISABLE_TELEMETRY=${ORT_DISABLE_TELEMETRY:-1}
export ORT_ENABLE_CUDNN_FLASH_ATTENTION=${ORT_ENABLE_CUDNN_FLASH_ATTENTION:-0}
exec node --import tsx bench/gpu/main.ts "$@"
