#!/bin/sh
# Prints the inventory of a fleet; the script has no access to files.
# usage: inventory.sh FLEET
exec cat -- "$1/inventory.json"
