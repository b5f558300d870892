#!/bin/bash
# One sweep on several GPUs: a Slurm array job, each task a shard. Submit it from a folder that all nodes share:
#
#   sbatch --array=1-8 tools/slurm/sweep.sh table1 --backbone vim_s.pth --data /datasets
#   SHARDS=8 sbatch --array=3,5 tools/slurm/sweep.sh table1 ...      # two of the eight again
#
# A task that runs out of time is told so two minutes before, saves, and queues itself again; the same command makes
# what is missing. When all are done:
#
#   svp-sweep report sweeps/table1
#
#SBATCH --job-name=svp-sweep
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=svp-sweep-%A-%a.log

# Set by Slurm; without it, the whole sweep on one machine.
number=${SLURM_ARRAY_TASK_ID:-1}
of=${SHARDS:-${SLURM_ARRAY_TASK_MAX:-1}}

svp-sweep "$@" --shard "$number/$of" &
child=$!
out_of_time=
trap 'out_of_time=yes; kill -TERM "$child"' USR1
# A job that is cancelled only saves.
trap 'kill -TERM "$child"' TERM
wait "$child"
code=$?
# A signal ends the wait before the program has ended.
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
if [ -n "$out_of_time" ] && [ "$code" -eq 75 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
