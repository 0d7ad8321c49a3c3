#!/bin/sh
# Says for each host that gave no answer what is missing, one line per host.
# usage: unread.sh 'FLEET
# HOST
# …'
{
  IFS= read -r fleet
  while IFS= read -r host; do
    case $host in ''|.*|*[!A-Za-z0-9._-]*) echo "not a host name"; continue;; esac
    folder=$fleet/hosts/$host/var/log
    if [ ! -d "$fleet/hosts/$host" ]; then echo "$host: the host has no folder"
    elif [ ! -d "$folder" ]; then echo "$host: no log folder"
    else
      missing=
      for log in nginx/access.log nginx/error.log spring-boot/app.log spring-boot/gc.log; do
        [ -d "$folder/${log%%/*}" ] && { [ -f "$folder/$log" ] && [ -r "$folder/$log" ] || missing="$missing $log"; }
      done
      if [ -n "$missing" ]; then echo "$host: cannot read$missing"
      elif [ -d "$folder/nginx" ] || [ -d "$folder/spring-boot" ]; then echo "$host: its logs can be read, but its agent gave no answer"
      else echo "$host: none of the expected logs"; fi
    fi
  done
} <<PROMPT
$1
PROMPT
