#!/usr/bin/env bash
# Fetches onnxruntime's files for CUDA, which are too large for its npm package, by that package's own install script.
set -euo pipefail
app=${APP:-/app}
package=$app/node_modules/onnxruntime-node

# .npmrc switches install scripts off, so this one is called by hand. `true` means: all that the platform has, whether or not it seems to
# be there. (`cuda12`, which the script's comments offer, is read and forgotten in 1.30. docs/container.md says why the files are for CUDA 13.)
ONNXRUNTIME_NODE_INSTALL=true node "$package/script/install.js"

# The script leaves nothing behind to tell which platforms it has files for: for arm64 it succeeds and does nothing.
provider=$package/bin/napi-v6/$(node -p 'process.platform + "/" + process.arch')/libonnxruntime_providers_cuda.so
if [[ ! -s $provider ]]; then
  echo "onnxruntime-node has no files for CUDA on this platform: no $provider" >&2
  exit 1
fi
# of no use: TensorRT itself is not in the image
rm -f "${provider%/*}/libonnxruntime_providers_tensorrt.so"
