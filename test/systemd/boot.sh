#!/bin/bash
# Boots the systemd of this machine as PID 1 of new namespaces, over an overlay of this machine's root. Needs root.
#
#   boot.sh SCRATCH [SOURCE=TARGET ...]
#
# SCRATCH: an empty directory, where the new root is put together. SOURCE: a file or directory that is seen inside as TARGET.
# The first line of output is the control group of everything inside, the second the pid of PID 1 as it is known outside.
# SIGTERM ends it, and so does the end of its parent: then nothing is left, neither processes nor mounts nor control groups.
set -euo pipefail
stage=$1
shift

case $stage in
guarded)
  group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/tsnsrv-test-$$
  mkdir "$group"
  clean_up() {
    # The end of the parent may be told more than once.
    trap '' TERM INT
    # The parent may have ended, and with it the reader of the output.
    exec > /dev/null 2>&1
    kill -KILL "$namespaces" || true
    # A group can be removed once its last process has ended.
    for _ in {1..500}; do
      find "$group" -depth -type d -exec rmdir {} + || true
      [ -d "$group" ] || return 0
      sleep 0.02
    done
  }
  trap 'exit 0' TERM INT
  trap clean_up EXIT
  (
    echo "$BASHPID" > "$group/cgroup.procs"
    echo "$group"
    exec setpriv --pdeathsig KILL -- \
      unshare --mount --pid --ipc --uts --cgroup --fork --kill-child --propagation private -- bash "$0" inside "$@"
  ) &
  namespaces=$!
  wait "$namespaces"
  ;;

inside)
  # /proc is still that of the outside.
  read -r pid _ < /proc/self/stat
  echo "$pid"

  scratch=$1
  shift
  mount -t tmpfs -o size=2g,mode=755 tmpfs "$scratch"
  root=$scratch/root
  mkdir "$root" "$scratch/upper" "$scratch/work"
  mount -t overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root"
  for bind in "$@"; do
    source=${bind%%=*} target=$root${bind#*=}
    if [ -d "$source" ]; then
      mkdir -p "$target"
    else
      mkdir -p "$(dirname "$target")"
      : > "$target"
    fi
    mount --bind "$source" "$target"
  done
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount -t sysfs sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  mount -t tmpfs -o mode=755 tmpfs "$root/run"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

  # Nothing starts by itself: this machine has started it already.
  rm -rf "$root"/{etc,usr/lib,usr/local/lib}/systemd/system/*.{wants,requires} "$root/etc/systemd/system/default.target"
  printf '[Unit]\nDescription=units that a test starts\n' > "$root/etc/systemd/system/default.target"
  : > "$root/etc/fstab"
  head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$root/etc/machine-id"

  cd "$root"
  mkdir .old
  pivot_root . .old
  umount -l .old
  rmdir .old
  # systemd does this itself, but not in a container: a unit must see what is mounted for it, such as its credentials.
  mount --make-rshared /
  export container=tsnsrv-test
  exec /lib/systemd/systemd --system --log-target=console --log-level=warning --show-status=0 < /dev/null
  ;;

*)
  exec setpriv --pdeathsig TERM -- bash "$0" guarded "$stage" "$@"
  ;;
esac
