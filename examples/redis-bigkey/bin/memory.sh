#!/bin/sh
# First cross-check of a suspect: is the key big? Elements are sampled, since walking all of them would stop the node.
# usage: memory.sh 'HOST:PORT
# COMMAND
# KEY'
. "$(dirname "$0")/common.sh"
use_node "$(printf '%s\n' "$1" | sed -n 1p)"
use_key "$(printf '%s\n' "$1" | sed -n 3p)"

type=$(ask_key TYPE)
case $type in
  hash) length=HLEN;; set) length=SCARD;; zset) length=ZCARD;; list) length=LLEN;; stream) length=XLEN;; string) length=STRLEN;;
  none) printf '{"verdict":"against","reason":"the key is not there any more","type":null,"length":null,"bytes":null}\n'; exit 0;;
  *) echo "no type of $key on $host:$port: $type" >&2; exit 3;;
esac
length=$(ask_key "$length") bytes=$(ask_key "MEMORY USAGE" "SAMPLES 100") encoding=$(ask_key "OBJECT ENCODING")
case $length$bytes in ''|*[!0-9]*) echo "no size of $key on $host:$port" >&2; exit 3;; esac

# A read of all of it costs by elements, or by bytes when it is one text.
if [ "$type" = string ]; then
  if [ "$bytes" -ge 1048576 ]; then verdict=for; else verdict=against; fi
elif [ "$length" -ge 10000 ]; then verdict=for
elif [ "$bytes" -ge 1048576 ]; then verdict=unclear
else verdict=against
fi
printf '{"verdict":"%s","reason":"%s of %s elements, %s bytes, encoding %s","type":"%s","length":%s,"bytes":%s}\n' \
  "$verdict" "$type" "$length" "$bytes" "$encoding" "$type" "$length" "$bytes"
