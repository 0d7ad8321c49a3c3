# Read by the other scripts: which node, which key, and how to ask it. Only reading commands are sent.
LC_ALL=C; export LC_ALL
SECONDS_MAX=20 # A node that does not answer within this time gives no answer.

bad() { echo "$1" >&2; exit 2; }

# Sets host and port from HOST:PORT.
use_node() {
  host=${1%:*} port=${1##*:}
  case $host in ''|-*|*[!A-Za-z0-9._:-]*) bad "not a node: $1";; esac
  case $port in ''|*[!0-9]*) bad "not a node: $1";; esac
}

# Sets key from its quoted form, as redis-cli prints it without the outer quotes: an open quote would start new words.
use_key() {
  key=$1
  case $(printf '%s' "$key" | sed 's/\\.//g') in ''|*\"*|*\\*) bad "not a key: $1";; esac
}

# The answer of one command, for programs. A password is taken from REDISCLI_AUTH by redis-cli itself.
ask() { timeout "$SECONDS_MAX" redis-cli -h "$host" -p "$port" "$@" 2>/dev/null; }

# The same with strings quoted and lists numbered, so that they can be told apart.
ask_quoted() { timeout "$SECONDS_MAX" redis-cli -h "$host" -p "$port" --no-raw "$@" 2>/dev/null; }

# The answer of one command on the key: ask_key COMMAND [ARGUMENTS AFTER THE KEY]
ask_key() { printf '%s "%s" %s\n' "$1" "$key" "${2:-}" | ask; }

# Text for JSON.
quote() { printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g' | tr -d '\000-\037')"; }
