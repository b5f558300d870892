#!/usr/bin/env bash
# Builds the fuzz targets and runs them, two at a time. README.md beside it says how.
set -euo pipefail
cd "$(dirname "$0")/../.."
usage="usage: tests/fuzz/run.sh [--seconds N | --runs N | --total N] [--jobs N] [--asan] [--minimise] [TARGET...]"
here=tests/fuzz build=target/fuzz sanitizer=none
limit=seconds amount=5 jobs=2 minimise=false toolchain=()
while [[ ${1-} == --* ]]; do
    case $1 in
        --seconds | --runs | --total) limit=${1#--} amount=$2 && shift ;;
        --jobs) jobs=$2 && shift ;;
        # Finds reads and writes out of bounds too, but is slower. Needs a nightly toolchain.
        --asan) build=target/fuzz-asan sanitizer=address toolchain=(+nightly) ;;
        --minimise) minimise=true ;;
        *) echo "$usage" >&2 && exit 2 ;;
    esac
    shift
done

names=("$@")
(($#)) || mapfile -t names < <(cut -d' ' -f1 $here/targets | grep -v '#')
table=()
for name in "${names[@]}"; do
    line=$(grep "^$name " $here/targets) || { echo "there is no target $name" >&2 && exit 2; }
    table+=("$line")
done

if ! cargo fuzz --version &> /dev/null && ! cargo install --quiet --locked cargo-fuzz; then
    echo "skipped: fuzz targets: there is no cargo-fuzz, and it cannot be installed"
    exit 0
fi
cargo "${toolchain[@]}" fuzz build --fuzz-dir $here --target-dir $build --sanitizer $sanitizer

# Runs a target: its name, the longest input, its share of a total in parts of 1000.
fuzz() {
    local name=$1 longest=$2 share=$3
    local program=(env RUST_BACKTRACE=1 "$build/x86_64-unknown-linux-gnu/release/$name")
    local corpus=target/fuzz/corpus/$name kept=$here/corpus/$name artifacts=target/fuzz/artifacts/$name
    local log=target/fuzz/logs/$name.log
    local options=(-max_len="$longest" -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=600 -print_final_stats=1)
    [[ $sanitizer == none ]] || options+=(-rss_limit_mb=2048)
    [[ ! -f $here/dictionaries/$name.dict ]] || options+=(-dict="$here/dictionaries/$name.dict")
    mkdir -p "$corpus" "$kept" "$artifacts" "$(dirname "$log")"
    if $minimise; then
        local merged
        merged=$(mktemp -d)
        "${program[@]}" "${options[@]}" -merge=1 -set_cover_merge=1 "$merged" "$corpus" "$kept" &> "$log"
        rm -rf "$kept" && mkdir "$kept"
        # Some of them, in the order of their hashes: a run soon finds again what it does not begin with.
        find "$merged" -type f -printf '%f %s %p\n' | sort |
            awk 'sum + $2 <= 20480 && n < 64 { sum += $2; n += 1; print $3 }' |
            xargs -r cp -t "$kept"
        rm -r "$merged"
        return
    fi
    case $limit in
        seconds) options+=(-max_total_time="$amount") ;;
        runs) options+=(-runs="$amount") ;;
        total) options+=(-runs=$((amount * share / 1000))) ;;
    esac
    rm -f "$log.failed"
    "${program[@]}" "${options[@]}" -artifact_prefix="$artifacts/" "$corpus" "$kept" &> "$log" || touch "$log.failed"
}
export -f fuzz
export here build sanitizer minimise limit amount

status=0
printf '%s\n' "${table[@]}" | xargs -P "$jobs" -L 1 bash -euo pipefail -c 'fuzz "$@"' fuzz || status=1
$minimise && exit $status

printf '%-12s %12s %9s %8s %8s %8s %8s %9s\n' target executions exec/s cov ft corpus seconds findings
while read -r name _; do
    log=target/fuzz/logs/$name.log
    findings=0
    if [[ -f $log.failed ]]; then
        findings=1 status=1
    fi
    awk -v name="$name" -v findings=$findings '
        { for (i = 1; i < NF; i++) {
            if ($i == "cov:") cov = $(i + 1)
            if ($i == "ft:") ft = $(i + 1)
            if ($i == "corp:") { corpus = $(i + 1); sub("/.*", "", corpus) }
        } }
        /^#[0-9]+/ { done = substr($1, 2) + 0 }
        $1 == "stat::number_of_executed_units:" { done = $2 }
        $1 == "stat::average_exec_per_sec:" { speed = $2 }
        $1 == "Done" { seconds = $5 }
        END { printf "%-12s %12d %9d %8d %8d %8d %8d %9d\n", name, done, speed, cov, ft, corpus, seconds, findings }
    ' "$log"
done < <(printf '%s\n' "${table[@]}") | tee target/fuzz/table
awk '{ done += $2; seconds += $7; findings += $8 }
    END { printf "%-12s %12d %9s %8s %8s %8s %8d %9d\n", "all", done, "", "", "", "", seconds, findings }' target/fuzz/table
for failed in $(find target/fuzz/logs -name '*.failed'); do
    name=$(basename "$failed" .log.failed)
    if cut -d' ' -f1 target/fuzz/table | grep -qx "$name"; then
        echo "finding: $name: see target/fuzz/logs/$name.log; the input is in target/fuzz/artifacts/$name"
        status=1
    fi
done
exit $status
