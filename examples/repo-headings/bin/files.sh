#!/bin/sh
# Lists the Markdown files below a folder, one path per line, relative to it.
# usage: files.sh DIR
LC_ALL=C; export LC_ALL
cd -- "$1" 2>/dev/null || { echo "not a folder: $1" >&2; exit 3; }
find . \( -name .git -o -name node_modules \) -prune -o -type f \( -name '*.md' -o -name '*.markdown' \) -print | sed 's|^\./||' | sort
