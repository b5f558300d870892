//! Damaged and hostile checkpoint files must give an error or weights in bounded time and memory, and never a panic.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Rng;
use svp::checkpoint::Checkpoint;
use svp::checkpoint::pickle::Pickle;
use svp::data::mapped;

/// Mutated inputs made from each file.
const ROUNDS: u32 = 1500;
/// Time limit, far above what any of the small inputs needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts the bytes that the current thread holds, and the most it has held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    HELD.set(HELD.get() + change);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain thread-local cells that allocate
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and returns its result and the most memory it held at once.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let (before, start) = (HELD.get(), Instant::now());
    PEAK.set(before);
    let result = work();
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
    (result, (PEAK.get() - before) as usize)
}

/// Opens the bytes as a file and loads every tensor; returns whether it could be opened and any tensor loaded.
fn load(bytes: &[u8]) -> bool {
    let map = mapped::copy(bytes, Path::new("fuzzed")).unwrap();
    match Checkpoint::from_map(Arc::new(map), Path::new("fuzzed")) {
        Ok(checkpoint) => {
            let loads =
                |name: &&String| checkpoint.tensor(name).map_err(|e| one_line(&e.to_string())).is_ok();
            checkpoint.entries().keys().filter(loads).count() > 0
        }
        Err(error) => {
            one_line(&error.to_string());
            false
        }
    }
}

fn one_line(error: &str) {
    assert!(error.starts_with("fuzzed: ") && error.lines().count() == 1, "{error}");
}

/// Damages a copy: bytes are changed, cut out, doubled or set to extremes, or the end is missing.
fn mutate(original: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=rng.below(4) {
        let n = bytes.len() as u32;
        // These files have structure at both ends and weights between, so most damage goes to the ends.
        let at = match rng.below(5) {
            0 => rng.below(n),
            1 | 2 => rng.below(n.min(8192)),
            _ => n - 1 - rng.below(n.min(8192)),
        } as usize;
        let end = (at + 1 + rng.below(8) as usize).min(bytes.len());
        match rng.below(6) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.next_u32() as u8,
            2 => bytes[at..end].fill(if rng.chance(0.5) { 0xff } else { 0 }),
            3 => drop(bytes.splice(at..end, [])),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

/// Mutates one golden file. Some mutants must load and many must not, or the test would prove nothing.
fn fuzz(name: &str, stream: u32) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let original = std::fs::read(path).unwrap();
    assert!(load(&original), "{name} itself");
    let (mut good, mut most) = (0, 0);
    for round in 0..ROUNDS {
        let bytes = mutate(&original, &mut Rng::keyed(0, 0, round, stream));
        let (loaded, peak) = measured(|| load(&bytes));
        let bound = 2 * original.len() + (256 << 10);
        assert!(peak <= bound, "{name} round {round}: {peak} bytes held for {} in the file", bytes.len());
        (good, most) = (good + u32::from(loaded), most.max(peak));
    }
    println!("{name}: {good} of {ROUNDS} mutants load; at most {most} bytes held for {}", original.len());
    assert!(good > 0 && good < ROUNDS, "{good} of {ROUNDS}");
}

#[test]
fn zip_checkpoints() {
    fuzz("vim_nano_release_f16.pth", 1);
}

#[test]
fn compressed_zip_checkpoints() {
    fuzz("torch_layouts_deflated.pth", 2);
}

#[test]
fn legacy_checkpoints() {
    fuzz("vim_nano_release_legacy.pth", 3);
}

#[test]
fn safetensors() {
    fuzz("pos_embed_interpolation.safetensors", 4);
}

/// Opcodes come in any order. Most find a stack to work on, so this reaches deeper than mutations do.
#[test]
fn opcode_soup() {
    const PIECES: [&[u8]; 34] = [
        b"(", b"0", b"1", b"2", b"N", b"K\x01", b"\x88", b"]", b"}", b")", b"\x8f", b"t", b"l", b"d",
        b"\x91", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"\x90", b"b", b"R", b"\x81", b"o",
        b"q\x00", b"h\x00", b"\x94", b"Q", b"\x93", b"U\x01x", b"cm\nn\n",
    ];
    let mut finished = 0;
    for round in 0..20_000 {
        let mut rng = Rng::keyed(0, 1, round, 5);
        let mut soup = vec![];
        for _ in 0..rng.below(60) {
            soup.extend(PIECES[rng.below(PIECES.len() as u32) as usize]);
        }
        soup.push(b'.');
        let (pickle, peak) = measured(|| Pickle::read(&soup, 0));
        assert!(peak <= 300 * soup.len() + 4096, "{peak} bytes held for {}", soup.len());
        finished += u32::from(pickle.is_ok());
    }
    assert!(finished > 100, "{finished}");
}

/// Files that are made to ask for much memory must get memory in proportion to the file.
#[test]
fn greedy_files() {
    let header = |json: &str| [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat();
    let huge_shape = r#"{"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#;
    let huge_count = r#"{"x":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}"#;
    let cases = [
        [&b"\x80\x02"[..], &[b']'; 100_000]].concat(),
        [&b"\x80\x02"[..], &[b'('; 100_000]].concat(),
        [&b"\x80\x02]"[..], &b"r\xff\xff\xff\xff".repeat(20_000)].concat(),
        b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(),
        b"\x80\x02\x8b\xff\xff\xff\x7f".to_vec(),
        header(huge_shape),
        header(huge_count),
        [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
    ];
    for bytes in cases {
        let (loaded, peak) = measured(|| load(&bytes));
        assert!(!loaded && peak <= 300 * bytes.len() + (64 << 10), "{peak} bytes held for {}", bytes.len());
    }
}
