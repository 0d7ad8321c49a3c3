# Reads `redis-cli --no-raw SLOWLOG GET` and calls entry() for each: when, usec, words[1..count], address, client.
# A line of a list is deeper than the number of the list it belongs to; that tells words of a command from the rest.
function unquoted(line) { sub(/^[^"]*"/, "", line); sub(/"$/, "", line); return line }
function indent(line) { match(line, /[^ ]/); return RSTART }
function finish() { if (count > 0) entry(); count = 0; when = 0; usec = 0; address = ""; client = "" }
# Every element of the list of the key, or the whole text.
function reads_all() {
  if (words[1] ~ /^(HGETALL|HKEYS|HVALS|SMEMBERS|GET|SORT|SORT_RO|DUMP)$/) return 1
  return words[1] ~ /^(LRANGE|ZRANGE|ZREVRANGE)$/ && words[3] == "0" && words[4] == "-1"
}
/^ *[0-9]+\) +1\) \(integer\) / { finish(); in_words = 0; base = match($0, /1\) \(integer\)/); next }
base && indent($0) == base && $1 == "2)" { when = $3; next }
base && indent($0) == base && $1 == "3)" { usec = $3; next }
base && indent($0) == base && $1 == "4)" { in_words = 1; count = 1; words[1] = toupper(unquoted($0)); next }
base && indent($0) == base && $1 == "5)" { in_words = 0; address = unquoted($0); next }
base && indent($0) == base && $1 == "6)" { client = unquoted($0); next }
in_words { words[++count] = unquoted($0); next }
