#!/usr/bin/env bash
# Puts the model $MODEL into the cache folder, so that a container starts in seconds and without a network. An empty $MODEL: the
# container fetches one when it starts.
set -euo pipefail
app=${APP:-/app}
cache=${WHISPER_CACHE:-/var/cache/whisper-streaming}
model=${MODEL-base}
token_file=${HUB_TOKEN_FILE:-/run/secrets/hub-token}

mkdir -p "$cache"
if [[ -z $model ]]; then exit 0; fi
if [[ $model == /* || $model == .* ]]; then
  echo "MODEL=$model: a folder is not in the image; name a model or a repository of the hub (owner/name)" >&2
  exit 1
fi
# A secret of the build: it is there for this step only, and in no layer.
if [[ -s $token_file ]]; then
  HUGGING_FACE_HUB_TOKEN=$(< "$token_file")
  export HUGGING_FACE_HUB_TOKEN
fi
node "$app/dist/cli/launch.cjs" models download "$model" --cache "$cache"

# Graphs are known by the size and time of the weights, and layers of an image keep whole seconds only: with a fraction, every container
# would take them for those of other weights and build its own.
find "$cache/models" -type f -exec touch -d '2000-01-01T00:00:00Z' {} +
