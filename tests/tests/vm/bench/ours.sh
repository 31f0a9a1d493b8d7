# What is measured of osctl. Sourced after `common.sh`.
export PATH=/bench/bin:$PATH
NEW="osctl ct new --from-archive /tmp/minimal.tar"

start_daemon() {
    sv -w 60 stop osctld > /dev/null
    setsid /bench/bin/osctld > /bench/log 2>&1 < /dev/null &
    for i in $(seq 300); do
        osctl --json ping 2> /dev/null | grep -q '"initialized": *true' && return
        sleep 0.1
    done
    cat /bench/log; exit 1
}

# life N: one container after the other.
life() {
    for i in $(seq "$1"); do
        timed create $NEW life
        timed start osctl ct start life
        osctl ct stop --kill life > /dev/null
        timed snapshot osctl ct snapshot new life one
        timed destroy osctl ct del life
    done
}

# crowd N: as many at the same time.
crowd() {
    for i in $(seq "$1"); do timed "crowd-create" $NEW "crowd$i"; done
    for i in $(seq "$1"); do timed "crowd-start" osctl ct start "crowd$i"; done
    for i in $(seq "$1"); do timed "crowd-snapshot" osctl ct snapshot new "crowd$i" one; done
    for i in $(seq "$1"); do timed "crowd-destroy" osctl ct del --force "crowd$i"; done
    trash_is_empty
}

trash_is_empty() {
    for i in $(seq 1200); do
        [ "$(zfs list -Hro name tank/trash | wc -l)" = 1 ] && return
        sleep 0.5
    done
    exit 1
}

# list CONTAINERS SNAPSHOTS ROUNDS: with so many of each, the snapshots made in one go of ZFS.
list() {
    for i in $(seq "$1"); do $NEW "list$i" > /dev/null || exit 1; done
    for i in $(seq "$3"); do timed list osctl ct ls; done
    for i in $(seq "$3"); do timed list-space osctl ct ls -o id,state,disk_used; done
    for i in $(seq $(($2 / $1))); do zfs snapshot -r "tank/ct@bench$i" || exit 1; done
    for i in $(seq "$3"); do timed list-snapshots osctl ct ls; done
    for i in $(seq "$3"); do timed list-space-snapshots osctl ct ls -o id,state,disk_used; done
}
