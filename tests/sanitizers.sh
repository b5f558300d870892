#!/usr/bin/env bash
# Runs tests under a sanitizer: tests/sanitizers.sh address | thread | miri | memcheck. What was found when is in
# benches/results. The sanitizers build into folders of their own below target/ (up to 9 GB). Each ends with a line of what it ran;
# where the machine lacks what it needs, it says so in one line and ends with status 2.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
nightly=${NIGHTLY:-nightly}

lacks() {
    echo "tests/sanitizers.sh: $1" >&2
    exit 2
}

# The library of the sanitizer $1, which a nightly toolchain brings along.
need_runtime() {
    local libraries
    libraries=$(rustc "+$nightly" --print target-libdir --target $target 2>/dev/null) || lacks "no toolchain $nightly (rustup toolchain install nightly)"
    compgen -G "$libraries/librustc*_rt.$1.a" >/dev/null || lacks "the toolchain $nightly has no $1 runtime for $target"
}

# Every read and write of memory: out of bounds, after it was freed, and what nobody freed.
address() {
    need_runtime asan
    export RUSTFLAGS=-Zsanitizer=address
    cargo "+$nightly" test --target $target --target-dir target/asan \
        --workspace --exclude data --lib --test conformance --test golden
    # The examples of its tests leak their names on purpose (svp/data/layouts/examples.rs).
    ASAN_OPTIONS=detect_leaks=0 cargo "+$nightly" test --target $target --target-dir target/asan --package data --lib
    echo "address: unit tests, conformance and goldens passed"
}

# Data races of a training with 3 threads, its loader's workers, its evaluations and its saving of states. The standard
# library is built anew, since a lock of which the sanitizer sees only a part looks like none.
thread() {
    need_runtime tsan
    local sysroot out
    sysroot=target/tsan/sysroot
    out=$(mktemp -d)
    python3 tests/sanitizers/std_from_docs.py "$nightly" $target $sysroot || lacks "the standard library could not be built for ThreadSanitizer"
    RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --sysroot $PWD/$sysroot" \
        cargo "+$nightly" build --target $target --target-dir target/tsan --bin svp-train
    for method in svp linear; do
        TSAN_OPTIONS=halt_on_error=0:exitcode=66 target/tsan/$target/debug/svp-train --method $method \
            --data builtin:orientation --threads 3 --workers 3 --epochs 2 --save-every 20 --out "$out/$method"
    done
    rm -r "$out"
    echo "thread: two trainings with 3 threads and 3 workers had no data race"
}

# Undefined behaviour in the crates that are fast enough to be interpreted and call nothing foreign.
miri() {
    cargo "+$nightly" miri --version >/dev/null 2>&1 || lacks "the toolchain $nightly has no Miri (rustup component add miri --toolchain $nightly); memcheck runs the same tests under valgrind"
    MIRIFLAGS=-Zmiri-disable-isolation cargo "+$nightly" miri test --target-dir target/miri \
        --package autograd --package onnx --package ptx-emulator --lib
    MIRIFLAGS=-Zmiri-disable-isolation cargo "+$nightly" miri test --target-dir target/miri \
        --package engine --lib -- rng:: budget::
    echo "miri: autograd, onnx, the emulator and the safe parts of the engine passed"
}

# The same tests under valgrind, with the checks of debug builds: reads of memory that nobody wrote, which the address
# sanitizer does not see.
memcheck() {
    command -v valgrind >/dev/null || lacks "no valgrind (apt-get install valgrind)"
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=9"
    cargo test --package autograd --package onnx --package ptx-emulator --lib
    cargo test --package engine --lib -- rng:: budget::
    echo "memcheck: autograd, onnx, the emulator and the safe parts of the engine passed"
}

case ${1:-} in
    address | thread | miri | memcheck) "$1" ;;
    *) lacks "usage: tests/sanitizers.sh address | thread | miri | memcheck" ;;
esac
