#!/bin/bash
# One sweep on several GPUs: a Slurm array job, each task a shard. Submit it from a folder that all nodes share:
#
#   sbatch --array=1-8 tools/slurm/sweep.sh table1 --backbone vim_s.pth --data /datasets
#
# A task that runs out of time is asked to stop two minutes before, saves, and is queued again; submitted once more, the
# same command makes what is missing. When all are done:
#
#   svp-sweep report sweeps/table1
#
#SBATCH --job-name=svp-sweep
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --output=svp-sweep-%A-%a.log

# Set by Slurm; the defaults make a plain run of it on one machine.
number=${SLURM_ARRAY_TASK_ID:-1}
of=${SLURM_ARRAY_TASK_COUNT:-1}

svp-sweep "$@" --shard "$number/$of" &
child=$!
stopped=
trap 'stopped=yes; kill -TERM "$child"' TERM
wait "$child"
code=$?
# The signal ended the wait, not yet the program.
if [ -n "$stopped" ]; then
    wait "$child"
    code=$?
fi
# 75: stopped, all is saved.
if [ "$code" -eq 75 ] && [ -n "$SLURM_JOB_ID" ]; then
    if [ -n "$SLURM_ARRAY_JOB_ID" ]; then job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID; else job=$SLURM_JOB_ID; fi
    scontrol requeue "$job"
fi
exit "$code"
