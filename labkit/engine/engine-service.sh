#!/bin/sh
# engine-service start|stop|kill|reload|status: what takes the place of a service manager on this host.
# containerd and dockerd are started in that order, each when the one before it answers.
set -eu
ctr=/run/containerd/containerd.sock
api=/run/labkit/docker.sock
log=/run/labkit
requests=/run/engine-service

running() { # PIDFILE; asked again and again, so that it starts no process
    pid= && { read -r pid <"$1" || [ -n "$pid" ]; } 2>/dev/null && [ -n "$pid" ] || return 1
    { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return 1
    case ${stat##*) } in Z*) return 1 ;; esac
}

answers() { # SOCKET PIDFILE: wait until it is there, or its process has gone
    until [ -S "$1" ]; do
        running "$2" || return 1
        sleep 0.005
    done
}

await_end() { # PIDFILE SECONDS
    left=$(($2 * 50))
    while running "$1"; do
        [ "$left" -gt 0 ] || return 1
        left=$((left - 1))
        sleep 0.02
    done
}

ask() { # let a child of process 1 start them: only those are members of the host's own groups
    reply=/run/engine-service.$$
    echo "$reply" >"$requests"
    until [ -e "$reply" ]; do sleep 0.005; done
    said=$(cat "$reply")
    rm "$reply"
    [ "$said" = started ] || { echo "$said" >&2; return 1; }
}

listen() {
    mkfifo -m 0600 "$requests"
    exec 3<>"$requests"
    while read -r reply <&3; do
        (exec 3<&-; start >"$reply.new" 2>&1 && echo started >>"$reply.new") || true
        mv "$reply.new" "$reply"
    done
}

start_containerd() {
    if ! running /run/containerd.pid; then
        rm -f "$ctr"
        setsid containerd >>"$log/containerd.log" 2>&1 &
        echo $! >/run/containerd.pid
        answers "$ctr" /run/containerd.pid || { echo "containerd did not start" >&2; return 1; }
    fi
}

start() {
    start_containerd
    if ! running /run/docker.pid; then
        rm -f "$api" /run/docker.pid
        # at its end the daemon takes down every mount below its data folder, the store's image layers too
        [ ! -s /etc/fstab ] || mount --all
        . /etc/default/docker
        # shellcheck disable=SC2086 # one option a word
        setsid dockerd --containerd "$ctr" --host "unix://$api" --host unix:///run/docker.sock \
            $DOCKER_OPTS >>"$log/dockerd.log" 2>&1 &
        echo $! >/run/dockerd.started
        answers "$api" /run/dockerd.started || { echo "dockerd did not start" >&2; return 1; }
        chmod 0600 "$api"
    fi
}

case ${1-} in
start) if [ -p "$requests" ]; then ask; else start; fi ;;
listen) listen ;;
containerd) start_containerd ;;
stop)
    if running /run/docker.pid; then
        kill -TERM "$(cat /run/docker.pid)"
        await_end /run/docker.pid 20 || { echo "dockerd does not end" >&2; exit 1; }
    fi
    ;;
kill)
    if running /run/docker.pid; then
        kill -KILL "$(cat /run/docker.pid)"
        await_end /run/docker.pid 5
    fi
    ;;
reload) running /run/docker.pid && kill -HUP "$(cat /run/docker.pid)" ;;
status)
    for name in containerd docker; do
        if running "/run/$name.pid"; then echo "$name: running"; else echo "$name: not running"; fi
    done
    running /run/docker.pid
    ;;
*)
    echo "usage: engine-service start|stop|kill|reload|status" >&2
    exit 2
    ;;
esac
