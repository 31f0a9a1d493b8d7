# What is measured of LXC, in its own file tree. Sourced after `common.sh`.
DIR=/containers

# life N: one container after the other.
life() {
    for i in $(seq "$1"); do
        timed create lxc-copy -P $DIR -n base -N life -s -B zfs
        timed start lxc-start -P $DIR -n life
        lxc-stop -P $DIR -k -n life > /dev/null
        timed snapshot lxc-snapshot -P $DIR -n life
        timed destroy lxc-destroy -P $DIR -s -n life
    done
}

# list CONTAINERS ROUNDS: of which there is nothing but their configuration.
list() {
    mkdir /many
    for i in $(seq "$1"); do
        mkdir "/many/list$i" && cp $DIR/base/config "/many/list$i/config"
    done
    for i in $(seq "$2"); do timed list lxc-ls -P /many -f; done
}
