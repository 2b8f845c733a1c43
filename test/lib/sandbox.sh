#!/usr/bin/env bash
# Runs COMMAND beside a private, real glusterd: sandbox.sh [--inner SCRATCH] COMMAND [ARG...]
#
# The command gets fresh mount, network, pid and uts namespaces. In them the machine is node01,
# node02 and node03 at 10.66.0.1..3 (bound to lo), glusterd listens on 24007, and /run,
# /var/lib/glusterd, /var/log/glusterfs are private. $SANDBOX_DIR is scratch space on a real file
# system for bricks and mount points. When the command ends, every process and mount ends with it.
# $SANDBOX_LOGS: directory that receives gluster's logs if the command fails. Needs root.
set -u
if [ "${1:-}" != --inner ]; then
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/glusterfs-ts.XXXXXX") || exit 70
    chmod 755 "$scratch" # tests act as other users, too
    trap 'rm -rf --one-file-system "$scratch"' EXIT
    # in the background, so that the traps run while it does; whoever dies takes the rest along
    setpriv --pdeathsig KILL -- unshare --mount --net --pid --uts --fork --mount-proc \
        --kill-child=KILL "$0" --inner "$scratch" "$@" <&0 &
    child=$!
    trap 'kill -KILL "$child"; wait "$child"; exit 143' TERM INT
    wait "$child"
    exit $?
fi
scratch=$2
shift 2
set -e
mount --make-rprivate /
hostname node01
ip link set lo up
for n in 1 2 3; do ip addr add 10.66.0.$n/24 dev lo; done
mkdir -p "$scratch"/{glusterd,logs,etc,space,overlay/upper,overlay/work}
printf '127.0.0.1 localhost\n10.66.0.1 node01\n10.66.0.2 node02\n10.66.0.3 node03\n' \
    >"$scratch/etc/hosts"
mount --bind "$scratch/etc/hosts" /etc/hosts
# FUSE mounts of the outer world could block a statfs in here
awk '$3 ~ /^fuse/ { print $2 }' /proc/self/mounts | while read -r dir; do
    umount -l "$(printf '%b' "$dir")" 2>/dev/null || true
done
cp -a /var/lib/glusterd/hooks /var/lib/glusterd/groups "$scratch/glusterd/" 2>/dev/null || true
mount --bind "$scratch/glusterd" /var/lib/glusterd
mount --bind "$scratch/logs" /var/log/glusterfs
mount -t tmpfs -o mode=755 sandbox /run
mkdir -p /run/lock /run/gluster
# geo-replication's helper delays every start of glusterd by 10 s; nothing here needs it
for helper in /usr/lib/*/glusterfs/gsyncd /usr/libexec/glusterfs/gsyncd; do
    [ -e "$helper" ] || continue
    mount -t overlay -o \
        "lowerdir=${helper%/*},upperdir=$scratch/overlay/upper,workdir=$scratch/overlay/work" \
        sandbox "${helper%/*}" && rm -f "$helper"
done
set +e
glusterd -l /var/log/glusterfs/glusterd.log || { echo 'sandbox: glusterd did not start' >&2; exit 70; }
for _ in $(seq 100); do
    gluster --mode=script volume list >/dev/null 2>&1 && break
    sleep 0.1
done
SANDBOX_DIR=$scratch/space "$@"
status=$?
if [ $status -ne 0 ] && [ -n "${SANDBOX_LOGS:-}" ]; then
    rm -rf "$SANDBOX_LOGS"
    mkdir -p "$SANDBOX_LOGS" && cp -a "$scratch/logs/." "$SANDBOX_LOGS/"
fi
kill -KILL -1 2>/dev/null
exit $status
