#!/usr/bin/env bash
# Ends the SLURM that start.sh has started in FOLDER, and only that one: stop.sh FOLDER
set -uo pipefail
folder=$(cd "${1:?usage: stop.sh FOLDER}" && pwd -P)
export SLURM_CONF=$folder/slurm.conf
scancel --quiet --state=RUNNING --user="$(id -un)" 2> /dev/null
scancel --quiet --state=PENDING --user="$(id -un)" 2> /dev/null
for file in "$folder"/slurmd-*.pid "$folder/slurmctld.pid" "$folder/munge/pid"; do
  if [ -f "$file" ]; then
    pid=$(cat "$file")
    kill "$pid" 2> /dev/null
    for _ in $(seq 100); do
      kill -0 "$pid" 2> /dev/null || break
      sleep 0.1
    done
  fi
done
exit 0
