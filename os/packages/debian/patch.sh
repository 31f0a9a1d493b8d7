# Makes what unpack.sh left in $out refer to its dependencies by their store
# paths: links, shebangs, and each program's loader and libraries.
# Read by busybox' ash; wants $deps, $libc, $bashDir and $patchelf.
find "$out" -type l | while read -r link; do
  target=$(readlink "$link")
  case $target in
    /usr/bin/* | /usr/sbin/* | /bin/* | /sbin/*) inside=bin/${target##*/} ;;
    /usr/lib/x86_64-linux-gnu/*) inside=lib/${target#/usr/lib/x86_64-linux-gnu/} ;;
    /lib/x86_64-linux-gnu/*) inside=lib/${target#/lib/x86_64-linux-gnu/} ;;
    /usr/*) inside=${target#/usr/} ;;
    *) continue ;;
  esac
  for place in $out $deps $libc; do
    if [ -e "$place/$inside" ]; then
      ln -sf "$place/$inside" "$link"
      break
    fi
  done
done
is_elf() {
  [ "$(head -c4 "$1" 2>/dev/null | od -An -tx1 | tr -d ' \n')" = 7f454c46 ]
}
find "$out/bin" "$out/lib" "$out/libexec" -type f 2>/dev/null | while read -r file; do
  case $file in *.ko | *.ko.xz | *.a | *.o | */modules/*) continue ;; esac
  if [ "$(head -c2 "$file" 2>/dev/null | tr -d '\0')" = '#!' ]; then
    [ -n "$bashDir" ] || continue
    chmod u+w "$file"
    sed -i -E "1s,^#! *(/usr)?/bin/(env )?bash,#!$bashDir/bin/bash," "$file"
    continue
  fi
  is_elf "$file" || continue
  needed=$($patchelf --print-needed "$file" 2>/dev/null) || continue
  [ -n "$needed" ] || continue
  chmod u+w "$file"
  path=
  for library in $needed; do
    for place in $out $deps $libc; do
      [ -e "$place/lib/$library" ] || continue
      case ":$path:" in
        *":$place/lib:"*) ;;
        *) path=$path${path:+:}$place/lib ;;
      esac
      break
    done
  done
  # The package's own directory of private libraries.
  old=$($patchelf --print-rpath "$file" 2>/dev/null || true)
  case $old in
    /usr/lib/x86_64-linux-gnu/?*) path=$path:$out/lib/${old#/usr/lib/x86_64-linux-gnu/} ;;
  esac
  $patchelf --force-rpath --set-rpath "$path:$libc/lib" "$file"
  if $patchelf --print-interpreter "$file" >/dev/null 2>&1; then
    $patchelf --set-interpreter "$libc/lib/ld-linux-x86-64.so.2" "$file"
  fi
done
# What update-alternatives would have made.
if [ -e "$out/bin/gawk" ]; then ln -sf gawk "$out/bin/awk"; fi
