#!/usr/bin/env bash
# Writes the licences of what npm installed to $APP/licenses, and fails on one that nobody has looked at yet.
set -euo pipefail
app=${APP:-/app}
licenses=$app/licenses
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Permissive ones, and MPL-2.0, which asks for the sources of changed files only; nothing is changed. BSD* is what the checker makes of
# the BSD-3-Clause text of @shinyoshiaki/jspack, whose package.json names none.
allowed='MIT;ISC;Apache-2.0;BSD-2-Clause;BSD-3-Clause;BSD*;0BSD;BlueOak-1.0.0;CC0-1.0;Unlicense;MPL-2.0'

npm install --silent --no-save --ignore-scripts --prefix "$work" license-checker-rseidelsohn@4.4.2 spdx-license-list@6.12.0
mkdir -p "$licenses"
"$work/node_modules/.bin/license-checker-rseidelsohn" --start "$app" --production --excludePrivatePackages \
  --onlyAllow "$allowed" --plainVertical --out "$licenses/node-packages.txt" > "$work/log" || {
  tail -n 5 "$work/log" >&2
  exit 1
}

# What node-av's package.json calls MIT is its own code. The FFmpeg inside its binary says how it was configured, and that decides.
ffmpeg=$(find "$app/node_modules/@seydx" -name '*.node' -exec grep --text --only-matching --max-count=1 -hE -- '--prefix=[[:print:]]*--enable-gpl[[:print:]]*' {} + || true)
if [[ $ffmpeg != *--enable-libfdk-aac* ]]; then
  echo "FFmpeg in node-av is not what docs/container.md and CONTRIBUTING.md say any more; configured with: ${ffmpeg:-other than the GPL}" >&2
  exit 1
fi
{
  cat << 'NOTICE'
FFmpeg, inside node_modules/@seydx/*/node-av.node: GNU General Public License, version 3, with parts under the licences of the libraries
that were built in. It is the build of the npm package node-av, whose sources and build scripts its home page names; it was not changed.
It contains the Fraunhofer FDK AAC library, whose licence the FFmpeg project calls incompatible with the GPL. Read docs/container.md of
whisper-streaming before you hand this image on. FFmpeg was configured with:

NOTICE
  printf '%s\n' "$ffmpeg"
  for name in GPL-3.0 FDK-AAC; do
    printf '\n\n---- %s\n\n' "$name"
    node -p 'JSON.parse(fs.readFileSync(process.argv[1], "utf8")).licenseText' "$work/node_modules/spdx-license-list/licenses/$name.json"
  done
} > "$licenses/ffmpeg.txt"
