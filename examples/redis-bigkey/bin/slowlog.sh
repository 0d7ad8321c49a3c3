#!/bin/sh
# Second cross-check of a suspect: is it read as a whole, slowly, and by whom? SLOWLOG has reads; an append-only file has not.
# usage: slowlog.sh 'HOST:PORT
# COMMAND
# KEY'
bin=$(dirname "$0"); . "$bin/common.sh"
use_node "$(printf '%s\n' "$1" | sed -n 1p)"
use_key "$(printf '%s\n' "$1" | sed -n 3p)"
slowlog=$(ask_quoted SLOWLOG GET 256) || { echo "no SLOWLOG of $host:$port" >&2; exit 3; }
export key
printf '%s\n' "$slowlog" | awk -f "$bin/slowlog.awk" -f "$bin/slowlog-of-key.awk" -
