# timed FIGURE COMMAND…: runs it and prints how many microseconds that took.
timed() {
    local figure=$1 begun=${EPOCHREALTIME/./} ended
    shift
    "$@" > /dev/null 2> /tmp/timed || { echo "$*:" >&2; cat /tmp/timed >&2; exit 1; }
    ended=${EPOCHREALTIME/./}
    echo "$figure $((ended - begun))"
}
