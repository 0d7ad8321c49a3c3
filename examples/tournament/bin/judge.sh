#!/bin/sh
# $1: two files, one per line. Prints the one whose words are shorter on average; the first when they are equal.
set -eu
left=$(printf '%s\n' "$1" | sed -n 1p)
right=$(printf '%s\n' "$1" | sed -n 2p)
mean() { awk '{ gsub(/[^[:alpha:] ]/, ""); for (i = 1; i <= NF; i++) { words++; letters += length($i) } }
  END { if (!words) exit 1; printf "%d\n", 1000 * letters / words }' <"$1"; }
left_mean=$(mean "$left") || { echo "no words in $left" >&2; exit 1; }
right_mean=$(mean "$right") || { echo "no words in $right" >&2; exit 1; }
if [ "$left_mean" -le "$right_mean" ]; then echo "$left"; else echo "$right"; fi
