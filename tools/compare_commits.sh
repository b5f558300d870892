#!/usr/bin/env bash
# Do two builds of svp-train train the same bytes? Trains every method twice, once by each program with the same seed, on
# the CPU and on the emulated device, and compares what they saved:
#
#   tools/compare_commits.sh OLD/svp-train NEW/svp-train [cpu|emulated ...]
#
# Exit code 0 if all tensors are the same, byte by byte. Metadata that differs is said and does not count.
set -euo pipefail
if [[ $# -lt 2 ]]; then
    echo "usage: $0 OLD/svp-train NEW/svp-train [cpu|emulated ...]" >&2
    exit 2
fi
programs=("$(realpath "$1")" "$(realpath "$2")")
shift 2
[[ $# -gt 0 ]] || set -- cpu emulated
devices=("$@")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
differ=0

# The JSON of a safetensors file, whose length is in the eight bytes before it.
header() {
    tail -c +9 "$1" | head -c "$(od -An -t u8 -N 8 "$1")"
}

# Names, types, shapes and places of the tensors: the JSON behind the metadata, without the spaces that fill it up. The
# metadata comes first, and its values are strings: only its end is a quotation mark, a brace, a comma and a quotation mark.
tensors() {
    local json
    json=$(header "$1" | sed 's/ *$//')
    echo "${json#*\"\},\"}"
}

# The bytes of the tensors.
data() {
    tail -c +$((9 + $(od -An -t u8 -N 8 "$1"))) "$1"
}

compare() { # FILE_OF_OLD FILE_OF_NEW
    if [[ ! -s $1 || ! -s $2 ]]; then
        echo MISSING
    elif cmp -s "$1" "$2"; then
        echo same
    elif [[ $(tensors "$1") != "$(tensors "$2")" ]]; then
        echo "OTHER TENSORS"
    elif ! cmp -s <(data "$1") <(data "$2"); then
        echo "OTHER VALUES"
    else
        echo "same tensors, other metadata"
    fi
}

train() { # CASE DEVICE ARGUMENTS...: by both programs; then compares
    local name=$1 device=$2 i file files verdict
    shift 2
    for i in 0 1; do
        if ! "${programs[i]}" --device "$device" --seed 7 --out "$name-$device-$i" "$@" > log 2>&1; then
            echo "$name on $device: ${programs[i]} failed:"
            cat log
            exit 1
        fi
    done
    files=$(cd "$name-$device-0" && ls -- *.safetensors)
    for file in $files; do
        verdict=$(compare "$name-$device-0/$file" "$name-$device-1/$file")
        printf '%-10s %-16s %-18s %s\n' "$device" "$name" "$file" "$verdict"
        [[ $verdict == same* ]] || differ=1
    done
}

# Three classes of 32x32 pictures, 20 a class to train and 6 to test: small enough for the emulated device.
for class in 0 1 2; do
    for split in train:20 test:6; do
        folder=data/${split%:*}/class$class
        mkdir -p "$folder"
        for ((i = 0; i < ${split#*:}; i++)); do
            { printf 'P6 32 32 255\n'; (yes "$class of $i, ${split%:*}" || true) | head -c 3072; } > "$folder/$i.ppm"
        done
    done
done

small="--data data --epochs 2 --batch-size 8 --lr 0.1"
vim="--model vim_nano --embed-dim 16 --depth 2"
recipe="--augment --auto-augment rand-m9-mstd0.5-inc1 --reprob 0.25 --mixup 0.8 --cutmix 1 --ema-decay 0.9"
# The backbone of the small runs, for both programs.
"${programs[0]}" $small $vim --method full --device cpu --out backbone > log 2>&1 || { cat log; exit 1; }
prompts="--backbone backbone/best.safetensors --hidden 8 --group-size 1 --drop-path 0.3"
for device in "${devices[@]}"; do
    if [[ $device == cpu ]]; then
        drawn="--data builtin:orientation --epochs 1"
        train svp "$device" $drawn --method svp
        train svp-official "$device" $drawn --method svp --variant official
        train linear "$device" $drawn --method linear
        train full "$device" $drawn --method full
    fi
    train small-svp "$device" $small $prompts --method svp
    train small-official "$device" $small $prompts --method svp --variant official
    train small-recipe "$device" $small $prompts $recipe --method svp --head two-layer --simam
    train small-linear "$device" $small --backbone backbone/best.safetensors --method linear
    train small-full "$device" $small $vim --method full --drop-path 0.3
done
exit $differ
