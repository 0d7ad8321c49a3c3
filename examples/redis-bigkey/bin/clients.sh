#!/bin/sh
# Third cross-check of a suspect: do clients of this moment send the command, and what does it cost on average?
# usage: clients.sh 'HOST:PORT
# COMMAND, - when none is suspected
# KEY'
. "$(dirname "$0")/common.sh"
use_node "$(printf '%s\n' "$1" | sed -n 1p)"
command=$(printf '%s\n' "$1" | sed -n 2p | tr 'A-Z' 'a-z')
case $command in ''|*[!a-z_-]*) bad "not a command: $command";; esac
if [ "$command" = - ]; then
  printf '{"verdict":"against","reason":"no slow command names the key","clients":[]}\n'
  exit 0
fi
list=$(ask CLIENT LIST) || { echo "no CLIENT LIST of $host:$port" >&2; exit 3; }
stat=$(ask INFO commandstats | tr -d '\r' | sed -n "s/^cmdstat_$command://p")
printf '%s\n' "$list" | awk -v command="$command" -v stat="$stat" '
function text(value) { gsub(/[^A-Za-z0-9.:_@-]/, "?", value); return "\"" substr(value, 1, 100) "\"" }
{
  name = ""; address = ""; last = ""
  for (i = 1; i <= NF; i++) {
    if ($i ~ /^name=/) name = substr($i, 6)
    if ($i ~ /^addr=/) address = substr($i, 6)
    if ($i ~ /^cmd=/) last = substr($i, 5)
  }
  if (last == command) { sending++; names[name == "" ? address : name]++ }
}
END {
  n = split(stat, part, ",")
  for (i = 1; i <= n; i++) { split(part[i], pair, "="); value[pair[1]] = pair[2] }
  calls = value["calls"] + 0; mean = value["usec_per_call"] + 0
  verdict = calls == 0 ? "against" : (sending > 0 && mean >= 1000) ? "for" : "unclear"
  printf "{\"verdict\":\"%s\",\"reason\":\"%d clients sent %s last; %d calls of %d us on average\",\"clients\":[", verdict, sending, command, calls, mean
  for (k = 0; k < 5; k++) {
    best = ""
    for (who in names) if (best == "" || names[who] > names[best] || (names[who] == names[best] && who < best)) best = who
    if (best == "") break
    printf "%s%s", (k ? "," : ""), text(best); delete names[best]
  }
  print "]}"
}'
