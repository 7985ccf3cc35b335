#!/usr/bin/env bash
# Builds the graphs of the model $MODEL, which fetch-model.sh has put into the cache folder, as processors need them.
set -euo pipefail
app=${APP:-/app}
cache=${WHISPER_CACHE:-/var/cache/whisper-streaming}
model=${MODEL-base}
precision=${PRECISION:-auto}

if [[ -z $model ]]; then exit 0; fi
# There is no command that only builds graphs; and this one proves that the model, FFmpeg and onnxruntime work.
text=$(node "$app/dist/cli/launch.cjs" transcribe --cache "$cache" --model "$model" --device cpu --precision "$precision" docs/speech.ogg)
echo "docs/speech.ogg: $text"
if [[ ! $text =~ [[:alpha:]] ]]; then
  echo "the model heard nothing in docs/speech.ogg" >&2
  exit 1
fi
