#!/bin/sh
# Lists the files below $1, relative to it, sorted, without hidden ones.
set -eu
cd -- "$1"
find . -type f ! -path '*/.*' | sed 's|^\./||' | LC_ALL=C sort
