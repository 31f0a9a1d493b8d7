# Unpacks the archives $debs into $out, with the directories of the file system
# hierarchy folded into those a store path has. Read by busybox' ash.
root=$NIX_BUILD_TOP/root
mkdir -p "$root" "$out"
for deb in $debs; do
  mkdir x
  cd x
  ar x "$deb"
  for archive in data.tar.*; do
    case $archive in
      *.xz) xz -dc "$archive" ;;
      *.gz) gzip -dc "$archive" ;;
      *) cat "$archive" ;;
    esac | tar -xf - -C "$root"
  done
  cd ..
  rm -rf x
done
cd "$root"
put() { # merges the contents of $1 into $2
  [ -d "$1" ] || return 0
  mkdir -p "$2"
  cp -af "$1/." "$2/"
  rm -rf "$1"
}
for junk in doc man locale lintian bash-completion info gdb zsh; do
  rm -rf "usr/share/$junk"
done
multiarch=x86_64-linux-gnu
put usr/lib/$multiarch "$out/lib"
put lib/$multiarch "$out/lib"
rm -f usr/lib64/ld-linux-* lib64/ld-linux-*
put usr/lib64 "$out/lib"
put lib64 "$out/lib"
for dir in usr/sbin sbin bin; do
  [ -d $dir ] || continue
  for link in $dir/*; do
    # A link such as sbin/ip -> /bin/ip would become one to itself.
    [ -L "$link" ] || continue
    target=$(readlink "$link")
    [ "${target##*/}" != "${link##*/}" ] || rm "$link"
  done
done
for dir in usr/bin usr/sbin bin sbin; do
  put $dir "$out/bin"
done
put usr/lib "$out/lib"
put lib "$out/lib"
put usr/libexec "$out/libexec"
put usr/share "$out/share"
put usr/src "$out/src"
put etc "$out/etc"
put boot "$out/boot"
