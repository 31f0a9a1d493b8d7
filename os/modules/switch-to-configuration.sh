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

# Whether a service is stopped for good, by somebody or by a switch that did not get further.
is_down() {
  local status
  status=$(sv status "$up/$1")
  [[ $status == down:* && $status != *", want up"* ]]
}

# Of each service: what it says of itself, and what makes it another one.
declare -A on_change reload_method triggers old_triggers
while read -r name _ _ hash; do old_triggers[$name]=$hash; done < "$old/services"
while read -r name change method hash; do
  on_change[$name]=$change reload_method[$name]=$method triggers[$name]=$hash
done < @out@/services

# Whether file $2 of service $1 is another one.
differs() {
  ! [ "$old/etc/runit/services/$1/$2" -ef "@out@/etc/runit/services/$1/$2" ]
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
    elif is_down "$name"; then
      start+=("$name")
    elif [ "${old_triggers[$name]-}" != "${triggers[$name]}" ]; then
      restart+=("$name")
    elif differs "$name" run; then
      case ${on_change[$name]} in
        restart) restart+=("$name") ;;
        reload) reload+=("$name") ;;
      esac
    fi
    if [ -p "$up/$name/log/supervise/ok" ] && differs "$name" log/run; then
      log+=("$name")
    fi
  done < "$level"
}

# Ends a service for good, and its supervisor. That waits for the logger, which
# waits for all that have the log open: they may outlive the service.
take_out() {
  sv -w 60 force-stop "$1"
  sv exit "$1" > /dev/null
  [ ! -e "$1/log/run" ] || sv force-stop "$1/log" > /dev/null
}

# Waits for the supervisors of services, which runsvdir(8) starts: it looks every 5 s.
supervised() {
  for name; do
    for _ in {1..200}; do
      [[ ! $(sv status "$up/$name") =~ ^(run|down|finish): ]] || break
      sleep 0.1
    done
  done
}

activate() {
  # Who looks on may go: what is stopped has to be started again.
  trap '' HUP INT PIPE
  compare
  for name in "${stop[@]}"; do
    act rm $up/"$name"
    act take_out /etc/runit/services/"$name"
  done
  for name in "${restart[@]}"; do act sv -w 60 force-stop $up/"$name"; done
  act @out@/activate || failed=1
  for name in "${log[@]}"; do act sv restart $up/"$name"/log; done
  for name in "${reload[@]}"; do act sv "${reload_method[$name]}" $up/"$name" || failed=1; done
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
