#!/usr/bin/env bash
# Compiles the service, drops what only the build needed, and leaves the rest in $APP. After `npm ci`, in the folder of the sources.
set -euo pipefail
app=${APP:-/app}

npm run --silent build
npm prune --omit=dev --silent

# A dependency for the sake of `npm start`, which compiles; nothing here will.
rm -rf node_modules/typescript node_modules/@typescript node_modules/.bin/tsc

# onnxruntime-node brings the binaries of every platform, 290 MB; one is used.
binaries=node_modules/onnxruntime-node/bin/napi-v6
mine=$binaries/$(node -p 'process.platform + "/" + process.arch')
if [[ ! -e $mine/onnxruntime_binding.node ]]; then
  echo "onnxruntime-node has no binary for this platform: no $mine/onnxruntime_binding.node" >&2
  exit 1
fi
find "$binaries" -mindepth 2 -maxdepth 2 -type d ! -path "$mine" -exec rm -rf {} +
find node_modules -type d -empty -delete

chmod +x dist/cli/launch.cjs
mkdir -p "$app"
mv LICENSE client deploy dist node_modules package.json python "$app"
