# Makes @out@ the system of the running host: what is gone is stopped, what
# changed is restarted or reloaded, what is new is started, and nothing else is
# touched. Services that /run/runit/protected-services.txt names, one glob a
# line, are left alone.
set -u
export PATH=@out@/sw/bin
action=${1-}
case $action in
  switch | boot | test | dry-activate) ;;
  *)
    echo "usage: ${0##*/} switch|boot|test|dry-activate" >&2
    exit 2
    ;;
esac

profile=/nix/var/nix/profiles/system
up=/run/runit/service
old=$(readlink -f /run/current-system)
level=@out@/etc/runit/levels/$(cat /run/runit/level)
failed=0

# Says what is done, and does it unless nothing is to be done.
act() {
  echo "> $*"
  [ "$action" = dry-activate ] || "$@"
}

is_protected() {
  [ -e /run/runit/protected-services.txt ] || return 1
  while read -r glob; do
    # shellcheck disable=SC2053
    [[ $1 != $glob ]] || return 0
  done < /run/runit/protected-services.txt
  return 1
}

# Column $3 of service $2 in system $1.
column() {
  awk -v name="$2" -v column="$3" '$1 == name { print $column }' "$1/services"
}

# Whether file $2 of service $1 is another one.
differs() {
  [ "$(readlink -f "$old/etc/runit/services/$1/$2")" != "$(readlink -f "@out@/etc/runit/services/$1/$2")" ]
}

# Makes the system a generation of the profile, unless it is the current one.
record() {
  mkdir -p "${profile%/*}"
  generations() { (cd "${profile%/*}" && printf '%s\n' system-*-link) | grep -o '[0-9]*' | sort -n; }
  [ -L $profile ] || point 1 "$old"
  [ "$(readlink -f $profile)" != "@out@" ] || return 0
  for number in $(generations); do
    if [ "$(readlink -f $profile-"$number"-link)" = "@out@" ]; then
      point "$number" @out@
      return
    fi
  done
  point $(($(generations | tail -n 1) + 1)) @out@
}

point() {
  ln -sfn "$2" $profile-"$1"-link
  ln -sfn system-"$1"-link $profile.new
  mv -T $profile.new $profile
}

make_bootable() {
  record
  if [ -n "@installBootLoader@" ]; then
    "@installBootLoader@" @out@
  else
    echo "there is no boot loader: the next boot takes what it is given"
  fi
}

# Sorts services into what has to be done with them.
compare() {
  stop=() restart=() reload=() start=() log=()
  for name in $(ls $up); do
    if is_protected "$name"; then
      echo "$name is protected"
    elif ! grep -qx "$name" "$level"; then
      stop+=("$name")
    fi
  done
  while read -r name; do
    if is_protected "$name"; then
      continue
    elif [ ! -e "$up/$name" ]; then
      start+=("$name")
      continue
    elif [ "$(column "$old" "$name" 4)" != "$(column @out@ "$name" 4)" ]; then
      restart+=("$name")
    elif differs "$name" run; then
      case $(column @out@ "$name" 2) in
        restart) restart+=("$name") ;;
        reload) reload+=("$name") ;;
      esac
    fi
    if [ -p "$up/$name/log/supervise/ok" ] && differs "$name" log/run; then
      log+=("$name")
    fi
  done < "$level"
}

# Services whose supervisor runsvdir(8) has started, which looks every 5 s.
supervised() {
  for name; do
    for _ in {1..200}; do
      [ ! -p "$up/$name/supervise/ok" ] || break
      sleep 0.1
    done
  done
}

activate() {
  compare
  for name in "${stop[@]}"; do
    act rm $up/"$name"
    act sv -w 60 force-shutdown /etc/runit/services/"$name"
  done
  for name in "${restart[@]}"; do act sv -w 60 force-stop $up/"$name"; done
  act @out@/activate
  for name in "${log[@]}"; do act sv restart $up/"$name"/log; done
  for name in "${reload[@]}"; do act sv "$(column @out@ "$name" 3)" $up/"$name" || failed=1; done
  for name in "${start[@]}"; do act ln -sfn /etc/runit/services/"$name" $up/"$name"; done
  act supervised "${start[@]}"
  local begin=("${restart[@]/#/$up/}" "${start[@]/#/$up/}")
  if [ ${#begin[@]} -gt 0 ]; then act sv -w 120 start "${begin[@]}" || failed=1; fi
}

exec 9> /run/switch-to-configuration.lock
flock 9
case $action in switch | boot) make_bootable || failed=1 ;; esac
case $action in switch | test | dry-activate) activate ;; esac
exit $failed
