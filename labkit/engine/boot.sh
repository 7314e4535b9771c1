#!/bin/sh
# From a process on the user's machine to the first process of an engine's host, in three stages.
# Each stage is this script again, one namespace deeper.  Variables: RUN (the engine's runtime folder),
# CGROUPS (the engine's folder in each hierarchy; empty where it is the group that we are in), UNIFIED (1 where these
# are of cgroup version 2, or empty), ROOTLESS (1 or empty), SKELETON (the host's own files, where what lies over its
# root is kept in memory, or empty), SUBMOUNTS (parts of that root that are file systems of their own).
set -eu

case $1 in
outside)
    # become a member of the engine's groups, so that they are what its cgroup namespace shows as the root
    for group in $CGROUPS; do echo 0 >"$group/cgroup.procs"; done
    if [ -n "$UNIFIED" ]; then export GROUP="${CGROUPS:-/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)}"; fi
    if [ -n "$ROOTLESS" ]; then set -- --user --map-root-user --map-auto; else set --; fi
    exec unshare "$@" --cgroup sh "$0" grouped
    ;;
grouped)
    if [ -n "$UNIFIED" ]; then
        # version 2: a group that limits its children holds no process itself (kernel, admin-guide/cgroup-v2)
        mkdir "$GROUP/engine"
        echo 0 >"$GROUP/engine/cgroup.procs"
        for controller in $(cat "$GROUP/cgroup.controllers"); do
            echo "+$controller" >"$GROUP/cgroup.subtree_control" || true
        done
    fi
    # a new user namespace has undone what ends us with the keeper (prctl(2), PR_SET_PDEATHSIG)
    exec setpriv --pdeathsig KILL unshare --fork --kill-child --pid --mount --net --uts --ipc --propagation=private sh "$0" inside
    ;;
inside)
    if [ -n "$SKELETON" ]; then
        mount -t tmpfs -o mode=0700 tmpfs "$RUN/upper"
        mkdir "$RUN/upper/work"
        cp -a "$SKELETON" "$RUN/upper/upper"
        for place in $SUBMOUNTS; do
            mkdir -p "$SKELETON$place" "$RUN/upper/parts$place/work"
            cp -a "$SKELETON$place" "$RUN/upper/parts$place/upper"
        done
    fi
    mount --all --fstab "$RUN/fstab"
    cd "$RUN/host"
    for link in $CGROUP_LINKS; do ln -s "${link#*=}" "sys/fs/cgroup/${link%%=*}"; done
    # the new root is put on top of the old one, which is then let go: no folder of the machine stays in view
    pivot_root . .
    umount --lazy .
    cd /
    hostname "$HOSTNAME"
    ip link set lo up 2>/dev/null || true
    /usr/local/sbin/engine-service containerd & # takes a moment, in which the firewall can be made ready
    # a kernel without nftables: the older iptables does the same
    if ! iptables --wait --list-rules >/dev/null 2>&1 && [ -x /usr/sbin/iptables-legacy ]; then
        ln -sf /usr/sbin/iptables-legacy /usr/local/sbin/iptables
        ln -sf /usr/sbin/ip6tables-legacy /usr/local/sbin/ip6tables
    fi
    # containers do not reach what listens on the loopback of the user's machine; the host itself does, for the daemon to
    # pull from there, and so does a container that shares the host's network
    iptables --wait --table mangle --append FORWARD --destination 10.0.2.2 \
        --match conntrack --ctstate NEW --jump DROP || {
        echo "no firewall rule can be set that keeps containers from this machine's loopback" >&2
        exit 1
    }
    wait $!
    /usr/local/sbin/engine-service start
    /usr/local/sbin/engine-service listen &
    # process 1 of the host: it only waits, and so collects what its children leave behind
    wait
    ;;
esac
