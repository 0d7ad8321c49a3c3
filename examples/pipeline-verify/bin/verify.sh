#!/bin/sh
# $1: a file and the number of a line in it, one per line. Prints `real` or `placeholder`.
set -eu
file=$(printf '%s\n' "$1" | sed -n 1p)
line=$(printf '%s\n' "$1" | sed -n 2p)
awk -v line="$line" '
  NR == line {
    found = 1
    comment = /^[ \t]*[#;]/
    sub(/^[^=:]*[=:][ \t]*/, "")
    print comment || $0 ~ /^("")?$/ || $0 ~ /\$\{/ ? "placeholder" : "real"
  }
  END { exit !found }' <"$file"
