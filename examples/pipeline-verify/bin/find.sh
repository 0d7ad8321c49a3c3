#!/bin/sh
# Prints the numbers of the lines of $1 that name a password. Wide on purpose: the second agent says no.
set -eu
awk 'tolower($0) ~ /passw(or)?d|secret/ { print NR }' <"$1"
