#!/bin/sh
# $1: how to look, a folder, and the known pages, one per line. Prints the pages that these name and that exist.
set -eu
how=$(printf '%s\n' "$1" | sed -n 1p)
dir=$(printf '%s\n' "$1" | sed -n 2p)
cd -- "$dir"
case $how in
links) pattern='[]][(][A-Za-z0-9._-]+[.]md[)]' ;; # [text](page.md)
mentions) pattern='`[A-Za-z0-9._-]+[.]md`' ;;      # `page.md`
*) echo "unknown way to look: $how" >&2; exit 2 ;;
esac
printf '%s\n' "$1" | sed 1,2d | while IFS= read -r page; do
  # A page that is gone leads nowhere.
  [ -r "$page" ] && awk -v pattern="$pattern" '
    { while (match($0, pattern)) { print substr($0, RSTART, RLENGTH); $0 = substr($0, RSTART + RLENGTH) } }' <"$page"
  :
done | tr -d '()][`' | LC_ALL=C sort -u | while IFS= read -r page; do
  [ ! -f "$page" ] || printf '%s\n' "$page"
done
