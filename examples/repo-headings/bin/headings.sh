#!/bin/sh
# Prints the headings of one Markdown file, one per line: level, a tab, text.
# usage: headings.sh 'DIR
# PATH'
LC_ALL=C; export LC_ALL
dir=${1%%
*}; path=${1#*
}
cd -- "$dir" 2>/dev/null || { echo "not a folder: $dir" >&2; exit 3; }
[ -f "./$path" ] && [ -r "./$path" ] || { echo "cannot read $path" >&2; exit 3; }
exec awk '
function heading(level, text) { gsub(/\t/, " ", text); print level "\t" trimmed(text); paragraph = "" }
function trimmed(text) { sub(/^[ \t]+/, "", text); sub(/[ \t]+$/, "", text); return text }
# How often "mark" stands at the start of "text".
function run_of(text, mark,   n) { n = 0; while (mark != "" && substr(text, n + 1, 1) == mark) n++; return n }
{ sub(/\r$/, "") }
NR == 1 { sub(/^\357\273\277/, "") }
NR == 1 && /^---[ \t]*$/ { front = 1; next }              # the end of front matter is no underline of a heading
front { if (/^(---|\.\.\.)[ \t]*$/) front = 0; next }
comment { if (/-->/) comment = 0; next }
{
  lead = run_of($0, " "); body = substr($0, lead + 1)     # four blanks or a tab make a line code or part of a list
  mark = substr(body, 1, 1); n = run_of(body, mark); rest = substr(body, n + 1)
  if (mark == "\t") lead = 4
}
fence {                                                    # only a run of the same mark, at least as long, ends a fence
  if (lead < 4 && mark == fence_mark && n >= fence && rest ~ /^[ \t]*$/) fence = 0
  next
}
/^[ \t]*$/ { paragraph = ""; block = 0; next }
lead < 4 && n >= 3 && (mark == "~" || (mark == "`" && !index(rest, "`"))) { fence = n; fence_mark = mark; paragraph = ""; next }
lead < 4 && body ~ /^<!--/ { paragraph = ""; if (!/-->/) comment = 1; next }
lead < 4 && mark == "#" && n <= 6 && rest ~ /^([ \t]|$)/ {
  sub(/[ \t]+#+[ \t]*$/, "", rest); heading(n, rest); next
}
paragraph != "" && lead < 4 && (mark == "=" || mark == "-") && rest ~ /^[ \t]*$/ { heading(mark == "=" ? 1 : 2, paragraph); next }
paragraph == "" && lead > 0 { next }                       # indented code, or text that belongs to a list
body ~ /^(>|[-+*][ \t]|[0-9]+[.)][ \t]|\|)/ || body ~ /^[-_*][-_* \t]*$/ { paragraph = ""; block = 1; next }
!block { paragraph = paragraph == "" ? trimmed(body) : paragraph " " trimmed(body) }
' "./$path"
