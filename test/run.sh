#!/usr/bin/env bash
# npm test: builds, then runs every test this machine can run, and says what it leaves out and why.
#
#   npm test                       everything
#   npm test -- unit wire          only these directories of test/
#   npm test -- mount/matrix       files whose path begins so
#
# As root on Debian it installs what the tests against real bricks need.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'test: %s\n' "$*"; }

[ -e node_modules/.package-lock.json ] || { say 'installing the dependencies (npm ci)'; npm ci --silent; }

# Stale tests of deleted sources must not run.
rm -rf dist
npm run --silent build

packages=(glusterfs-server attr acl fio git rsync gcc make sqlite3)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  if { apt-get -qq update && apt-get -qq install -y --no-install-recommends "${missing[@]}"; } \
    >dist/apt.log 2>&1; then
    missing=()
  else
    say "cannot install them (the last lines of dist/apt.log follow); tests that need them are skipped"
    tail -n 3 dist/apt.log
  fi
fi
[ "${#missing[@]}" = 0 ] || say "skipped where needed: not installed: ${missing[*]}"
[ "$(id -u)" = 0 ] || say 'skipped: test/mount and whatever else mounts: not root'
[ -e /dev/fuse ] || say 'skipped: test/mount: /dev/fuse is missing'

wanted=("$@")
[ "${#wanted[@]}" -gt 0 ] || wanted=(tidy unit wire graph fuzz mount)
files=()
for at in "${wanted[@]}"; do
  while IFS= read -r file; do files+=("$file"); done < <(
    find dist/test -path "dist/test/$at*" -name '*.test.js' | sort
  )
done
[ "${#files[@]}" -gt 0 ] || { say "no tests in ${wanted[*]}"; exit 1; }

# Files run side by side; those that mount start a glusterd of their own each. A single test may
# take this long before it counts as hung.
jobs=$(nproc)
exec node --test --test-concurrency="$jobs" --test-timeout=600000 --test-reporter=spec "${files[@]}"
