"""Builds Rust's standard library with ThreadSanitizer: std_from_docs.py TOOLCHAIN TARGET SYSROOT

`-Zbuild-std` needs the component rust-src, which is not at hand everywhere. Most toolchains have rust-docs, whose pages hold
the source of `std` as it was compiled. Only `std` has locks that are not inlined, so only it is built anew; it is linked
with the toolchain's own `core`, `alloc` and the rest, into a folder that serves as `--sysroot`.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# The crates of the toolchain that are built on std, and so do not fit another one. Programs need none of them.
BUILT_ON_STD = ("std", "test", "proc_macro", "sysroot", "rustc_std_workspace_std")
FEATURES = ("backtrace", "panic-unwind", "addr2line", "object", "miniz_oxide", "std_detect_file_io")
FLAGS = (
    "--edition=2024 --crate-name=std --crate-type=rlib --cap-lints=allow --emit=link,metadata -Copt-level=3 -Cpanic=unwind "
    "-Cmetadata=sanitizer -Cextra-filename=-sanitizer -Cdebuginfo=line-tables-only --cfg=backtrace_in_libstd "
    "-Zforce-unstable-if-unmarked -Zunstable-options -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
).split()


def source_of(page: str) -> tuple[str, str]:
    """The path and the text of the file that a page shows."""
    path = re.search("Source of the Rust file `([^`]*)`", page).group(1)
    text = page.split('<pre class="rust"><code>', 1)[1].split("</code></pre>", 1)[0]
    text = re.sub(r"<a href=#\d+ id=\d+ data-nosnippet>\d+</a>", "", text)
    return html.unescape(path), html.unescape(re.sub("<[^>]*>", "", text)) + "\n"


def extract(pages: Path, into: Path) -> None:
    for page in pages.rglob("*.html"):
        path, text = source_of(page.read_text())
        file = into / os.path.normpath(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    # Modules that are empty on this system, so that no page shows them.
    for name in ("sync", "thread_parking"):
        (into / f"library/std/src/sys/pal/unix/{name}.rs").touch()


def main(toolchain: str, target: str, sysroot: Path) -> None:
    rustc = ["rustc", f"+{toolchain}"]
    real = Path(subprocess.check_output([*rustc, "--print", "sysroot"], text=True).strip())
    pages = real / "share/doc/rust/html/src/std"
    if not pages.is_dir():
        sys.exit(f"no {pages} (rustup component add rust-docs --toolchain {toolchain})")
    shutil.rmtree(sysroot, ignore_errors=True)
    source, libraries = sysroot / "source", sysroot / f"lib/rustlib/{target}/lib"
    libraries.mkdir(parents=True)
    extract(pages, source)

    command = [*rustc, source / "library/std/src/lib.rs", *FLAGS, f"--target={target}", f"--out-dir={libraries}"]
    command += [f'--cfg=feature="{feature}"' for feature in FEATURES]
    for file in sorted((real / f"lib/rustlib/{target}/lib").iterdir()):
        crate = re.sub("-[0-9a-f]+$", "", file.stem).removeprefix("lib")
        if crate in BUILT_ON_STD:
            continue
        (libraries / file.name).symlink_to(file)
        if file.suffix in (".rlib", ".rmeta"):
            command += ["--extern", f"priv:{crate}={file}"]
    environment = {**os.environ, "RUSTC_BOOTSTRAP": "1", "STD_ENV_ARCH": target.split("-")[0]}
    # The texts of documentation that the source includes are no source, and are not in the pages.
    while True:
        run = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
        absent = set(re.findall(r"couldn't read `([^`]*\.md)`", run.stderr))
        if not absent:
            break
        for file in (Path(os.path.normpath(name)) for name in absent):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("No documentation.\n")
    if run.returncode != 0:
        sys.exit(run.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).absolute())
