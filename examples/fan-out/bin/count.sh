#!/bin/sh
# Prints how many lines of the file $1 contain TODO.
set -eu
awk '/TODO/ { n++ } END { print n + 0 }' <"$1"
