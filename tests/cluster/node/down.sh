#!/bin/bash
# Ends the cluster of the state folder and removes all of it: processes, cgroups, link, folder. It does so for one that
# ended halfway too, or whose folder is gone. With KEEP_LOGS=FOLDER the logs are moved there first.
set -euo pipefail
. "$(dirname "$0")/common.sh"
slot=$(slot_of_state)
# The link has gone with a node that has ended; its cgroups are still there, unless another cluster has got its slot.
if [ -z "$slot" ] && [ -s "$state/slot" ]; then
  slot=$(cat "$state/slot")
  [ ! -e "/sys/class/net/mwcluster$slot" ] || slot=
fi

in_cgroups() { # FIND-ARGUMENTS: looks through all of the cluster's, children first
  local root
  for root in $(cgroup_mounts); do
    # Groups of pods that end meanwhile aren't there any more when their turn comes.
    [ ! -d "$root/$cgroup" ] || find "$root/$cgroup" -depth "$@" 2>/dev/null || true
  done
}
processes() { in_cgroups -name cgroup.procs -exec cat {} + | sort -u; }
gone() {
  local left
  left=$(processes)
  [ -n "$left" ] || return 0
  # What was frozen by a test wouldn't die.
  in_cgroups -name freezer.state | while read -r file; do echo THAWED > "$file" || true; done
  # shellcheck disable=SC2086 # they are numbers
  kill -KILL $left 2>/dev/null || true
  return 1
}
no_cgroups() {
  in_cgroups -type d -exec rmdir {} \;
  [ -z "$(in_cgroups -type d)" ]
}

if [ -n "$slot" ]; then
  addresses_of_slot "$slot"
  until_true 20 gone || die "these processes of the cluster don't end when killed: $(processes | xargs)"
  until_true 10 no_cgroups || die "these cgroups of the cluster can't be removed: $(in_cgroups -type d | xargs)"
fi
if [ -n "${KEEP_LOGS:-}" ] && [ -d "$state/log" ]; then
  rm -rf "$KEEP_LOGS"
  mkdir -p "$KEEP_LOGS"
  cp -r "$state/log/." "$KEEP_LOGS"
fi
if [ -d "$state" ]; then
  [ -O "$state" ] && [ ! -L "$state" ] || die "$state isn't a folder of this user's"
  rm -rf --one-file-system "$state"
fi
# Last, because the link is how the cluster is found again when this was interrupted. It goes with its namespace, too.
[ -z "$slot" ] || ip link delete "$link" 2>/dev/null || [ ! -e "/sys/class/net/$link" ] || die "the link $link can't be removed"
