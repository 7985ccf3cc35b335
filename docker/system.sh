#!/usr/bin/env bash
# What the image's system needs beside its packages: the user that everything runs as, the command on the PATH, no npm. $SYSTEM_ROOT
# stands before every path, for a run in some folder.
set -euo pipefail
root=${SYSTEM_ROOT:-}
user_id=${USER_ID:-1000}
group_id=${GROUP_ID:-1000}
in_root=()
if [[ -n $root ]]; then in_root=(--prefix "$root"); fi

# Base images have somebody with this number already: `node`, or `ubuntu`.
name_of() { awk -F: -v id="$2" '$3 == id { print $1 }' "$root/etc/$1"; }
occupant=$(name_of passwd "$user_id")
if [[ -n $occupant ]]; then
  userdel "${in_root[@]}" "$occupant"
  rm -rf "$root/home/${occupant:?}"
fi
occupant=$(name_of group "$group_id")
if [[ -n $occupant ]]; then groupdel "${in_root[@]}" "$occupant"; fi

groupadd "${in_root[@]}" --gid "$group_id" ray
useradd "${in_root[@]}" --uid "$user_id" --gid "$group_id" --no-create-home --home-dir /home/ray --shell /bin/bash ray
install -d -o "$user_id" -g "$group_id" "$root/home/ray" "$root/var/cache/whisper-streaming"

# KubeRay starts Ray by a login shell, and /etc/profile forgets the image's PATH.
install -d "$root/etc/profile.d"
# shellcheck disable=SC2016 # the login shell is to expand it
echo 'export PATH=/opt/venv/bin:$PATH' > "$root/etc/profile.d/whisper-streaming.sh"

ln -s /app/dist/cli/launch.cjs "$root/usr/local/bin/whisper-streaming"

# A package manager is of no use in there, and scanners of vulnerabilities find theirs in it. Of yarn, links stay behind.
rm -rf "$root"/usr/local/lib/node_modules "$root"/opt/yarn-* "$root"/usr/local/bin/{npm,npx,corepack,yarn,yarnpkg}
