#!/usr/bin/env bash
# A real SLURM on this machine alone, for tests: start.sh FOLDER prints a line to `eval`,
# which points a shell at it.
# It has two nodes, so that jobs of several machines run too. No systemd, no cgroups, no database; own key, free
# ports, everything below FOLDER. stop.sh FOLDER ends it.
# Needs root and Debian's packages: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
set -euo pipefail
folder=${1:?usage: start.sh FOLDER}
nodes=${SLURM_TEST_NODES:-2}
cores=${SLURM_TEST_CORES:-$(nproc)}  # of each node: they share the machine
memory=${SLURM_TEST_MEMORY_MB:-$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)}
host=$(hostname -s)

mkdir -p "$folder"/{controller,log,munge}
folder=$(cd "$folder" && pwd -P)
# munged refuses a socket that others may replace, and SLURM's users must be able to reach it.
chmod 755 "$folder"
chmod 711 "$folder/munge"
if [ ! -s "$folder/munge/key" ]; then
  (umask 077 && head -c 1024 /dev/urandom > "$folder/munge/key")
fi

read -r controller_port node_ports < <(python3 - "$nodes" <<'PYTHON'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(1 + int(sys.argv[1]))]
first, *rest = (str(server.getsockname()[1]) for server in held)
print(first, f"[{','.join(rest)}]")
PYTHON
)

cat > "$folder/slurm.conf" <<CONF
ClusterName=medseg-test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/controller
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
SlurmctldDebug=info
SlurmdDebug=info
# Nothing that needs cgroups, systemd or a database.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
# Jobs start and are preempted without the delays of a large cluster.
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=500000,batch_sched_delay=0
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
ReturnToService=2
KillWait=5
OverTimeLimit=0
InactiveLimit=0
MinJobAge=300
MaxArraySize=1001
NodeName=node[1-$nodes] NodeHostname=$host NodeAddr=127.0.0.1 Port=$node_ports CPUs=$cores Sockets=1 CoresPerSocket=$cores ThreadsPerCore=1 RealMemory=$memory State=UNKNOWN
PartitionName=low Nodes=node[1-$nodes] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=node[1-$nodes] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF

munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
  --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed" 2> "$folder/log/munged.err"
export SLURM_CONF=$folder/slurm.conf
slurmctld -i -f "$SLURM_CONF" 2> "$folder/log/slurmctld.err"
for node in $(seq "$nodes"); do
  mkdir -p "$folder/node$node"
  slurmd -f "$SLURM_CONF" -N "node$node" 2>> "$folder/log/slurmd.err"
done
for _ in $(seq 120); do
  if [ "$(sinfo -h -N -p low -t idle 2> /dev/null | wc -l)" -eq "$nodes" ]; then
    # Its nodes are names of this machine that nothing else knows.
    echo "export SLURM_CONF=$SLURM_CONF MASTER_ADDR=127.0.0.1 GLOO_SOCKET_IFNAME=lo"
    exit 0
  fi
  sleep 0.25
done
echo "the nodes did not come up; see $folder/log" >&2
exit 1
