use std::fs;

use engine::Rng;
use tempfile::TempDir;

use super::*;
use crate::testing::{self, files, gzip, tar, tar_member};

fn bytes(seed: u32, count: usize) -> Vec<u8> {
    let mut rng = Rng::keyed(1, 0, seed, 0);
    (0..count).map(|_| rng.next_u32() as u8).collect()
}

/// Opens these bytes as a file.
fn open(bytes: &[u8]) -> (TempDir, Result<Archive>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.archive");
    fs::write(&path, bytes).unwrap();
    let archive = Archive::open(&path);
    (dir, archive)
}

fn refused(bytes: &[u8]) -> String {
    let message = open(bytes).1.unwrap_err().to_string();
    assert!(message.contains("data.archive") && !message.contains('\n'), "{message}");
    message
}

fn content(archive: &Archive) -> testing::Written {
    let read = |member| (archive.name(member).to_string(), archive.read(member).unwrap().to_vec());
    archive.below("").map(read).collect()
}

#[test]
fn every_kind_hands_out_the_same_files() {
    let want = vec![
        ("a/1.jpg".to_string(), bytes(1, 3000)),
        ("a/2.jpg".to_string(), bytes(2, 512)),
        ("a-b/3.jpg".to_string(), vec![7; 100_000]),
        ("a.txt".to_string(), vec![]),
        ("b/c/4.jpg".to_string(), bytes(4, 1)),
    ];
    let tar = tar(&want);
    let two_members = [gzip(&tar[..5000]), gzip(&tar[5000..]), vec![0; 100]].concat();
    let mut sorted = want.clone();
    sorted.sort();
    for bytes in [&tar, &gzip(&tar), &two_members, &testing::zip(&want)] {
        let (_dir, archive) = open(bytes);
        let archive = archive.unwrap();
        assert_eq!(content(&archive), sorted);
        let names = |folder| -> Vec<String> {
            archive
                .list(folder)
                .into_iter()
                .map(|e| format!("{}{}", e.name, if e.is_folder { "/" } else { "" }))
                .collect()
        };
        assert_eq!(names(""), ["a/", "a-b/", "a.txt", "b/"]);
        assert_eq!(names("a"), ["1.jpg", "2.jpg"]);
        assert_eq!(names("b"), ["c/"]);
        assert_eq!((names("c"), archive.find("a"), archive.below("b/").len()), (vec![], None, 0));
        assert_eq!(archive.below("b").len(), 1);
    }
}

#[test]
fn the_peculiarities_of_tar_are_known() {
    let long = format!("{}/long.jpg", "d".repeat(150));
    let pax = |key: &str, value: &str| {
        let record = |length: usize| format!("{length} {key}={value}\n");
        let length = (1..).find(|&n| record(n).len() == n).unwrap();
        tar_member("pax", b'x', "", record(length).as_bytes())
    };
    let mut prefixed = *tar_member("name.jpg", b'0', "", b"").first_chunk().unwrap();
    prefixed[345..351].copy_from_slice(b"prefix");
    testing::seal(&mut prefixed);
    // A sparse file of 2 KiB, of which only the last block is stored.
    let mut sparse = tar_member("sparse.jpg", b'S', "", &[1; 512]);
    sparse[257..265].copy_from_slice(b"ustar  \0");
    sparse[386..398].copy_from_slice(b"00000003000\0");
    sparse[398..410].copy_from_slice(b"00000001000\0");
    sparse[483..495].copy_from_slice(b"00000004000\0");
    testing::seal(sparse.first_chunk_mut().unwrap());
    let tar = [
        tar_member("./dot//1.jpg", b'0', "", b"one"),
        tar_member("folder/", b'5', "", b""),
        tar_member("old", 0, "", b"old format"),
        tar_member("L", b'L', "", format!("{long}\0").as_bytes()),
        tar_member("short", b'0', "", b"gnu"),
        pax("path", "gr\u{fc}n.jpg"),
        tar_member("short", b'0', "", b"pax"),
        tar_member("short", b'0', "", b"no longer pax"),
        tar_member("hard.jpg", b'1', "dot/1.jpg", b""),
        tar_member("soft.jpg", b'2', "dot/1.jpg", b""),
        tar_member("global", b'g', "", b"whatever"),
        sparse,
        prefixed.to_vec(),
        tar_member("../out.jpg", b'0', "", b"out"),
        tar_member("a/._1.jpg", b'0', "", b"apple"),
        tar_member("__MACOSX/1.jpg", b'0', "", b"apple"),
        tar_member("old", b'0', "", b"newer"),
        vec![0; 1024],
        b"what follows the end mark does not count".to_vec(),
    ]
    .concat();
    let (_dir, archive) = open(&tar);
    let want = [
        (&*long, "gnu"),
        ("dot/1.jpg", "one"),
        ("gr\u{fc}n.jpg", "pax"),
        ("hard.jpg", "one"),
        ("old", "newer"),
        ("prefix/name.jpg", ""),
        ("short", "no longer pax"),
    ];
    let mut want: testing::Written = want.map(|(name, text)| (name.into(), text.into())).into();
    want.sort();
    assert_eq!(content(&archive.unwrap()), want);
}

/// The archive has several restart points and is read by threads in any order.
#[test]
fn a_compressed_tar_is_read_at_random() {
    // A third of each member repeats the first, so that blocks refer back over the points.
    let member = |i: u32| {
        let noise = bytes(i, 20_000);
        (format!("{i:03}.jpg"), [&noise[..], &noise, &bytes(i + 1000, 20_000)].concat())
    };
    let want: testing::Written = (0..120).map(member).collect();
    let (_dir, archive) = open(&gzip(&tar(&want)));
    let archive = archive.unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (archive, want) = (&archive, &want);
            scope.spawn(move || {
                let mut order: Vec<u32> = (0..want.len() as u32).collect();
                Rng::keyed(2, 0, thread, 0).shuffle(&mut order);
                for i in order {
                    assert!(*archive.read(i).unwrap() == *want[i as usize].1, "member {i}");
                }
            });
        }
    });
}

#[test]
fn what_is_no_archive_is_told_so() {
    let small = files(&[("a/1.jpg", "one"), ("a/2.jpg", "two")]);
    let tar = tar(&small);
    let mut bad_sum = gzip(&tar);
    let end = bad_sum.len();
    bad_sum[end - 8] ^= 1;
    let mut bad_data = gzip(&tar);
    bad_data[30] ^= 0xFF;
    let mut bad_header = tar.clone();
    bad_header[1024] ^= 1;
    let mut huge = tar_member("huge.jpg", b'0', "", b"");
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7F, 255, 255, 255, 255, 255, 255, 255]);
    testing::seal(huge.first_chunk_mut().unwrap());
    let mut long_name = tar_member("L", b'L', "", b"");
    long_name[124..135].copy_from_slice(b"77777777777");
    testing::seal(long_name.first_chunk_mut().unwrap());
    long_name.resize(2 << 20, b'n');
    for (bytes, want) in [
        (&b""[..], "neither tar, gzip, xz, bzip2 nor zip"),
        (b"text", "neither tar, gzip, xz, bzip2 nor zip"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\x1f\x8b\x09\0\0\0\0\0\0\0", "not gzip with deflate"),
        (&tar[..600], "truncated"),
        (&tar[..1024], "end mark is missing"),
        (&tar[..1300], "truncated"),
        (&gzip(&tar)[..60], "truncated"),
        (&gzip(b"text"), "end mark is missing"),
        (&bad_sum, "checksum is wrong"),
        (&bad_data, "damaged"),
        (&bad_header, "no tar header"),
        (&[gzip(&tar), b"more".to_vec()].concat(), "not gzip follows"),
        (&huge, "truncated"),
        (&long_name, "the limit is"),
        (&gzip(&long_name), "the limit is"),
        (&testing::zip(&small)[..80], "damaged or truncated"),
        // An archive that is followed by nearly endless zeros.
        (&gzip(&[tar.clone(), vec![0; 30 << 20]].concat()), "200 times its size"),
    ] {
        let message = refused(bytes);
        assert!(message.contains(want) && message.contains("get it again"), "{want}: {message}");
    }

    let mut zip = testing::zip(&small);
    let at = zip.windows(3).position(|w| w == b"one").unwrap();
    zip[at] ^= 1;
    let (_dir, archive) = open(&zip);
    let archive = archive.unwrap();
    assert!(archive.read(0).unwrap_err().contains("checksum is wrong"));
    assert_eq!(&*archive.read(1).unwrap(), b"two");
}

/// Cut anywhere, or with a byte changed, an archive is refused, or its members are refused or as they were written.
#[test]
fn damaged_archives_do_no_harm() {
    let want: testing::Written = (0..3).map(|i| (format!("f/{i}.jpg"), bytes(i, 700))).collect();
    let tar = tar(&want);
    for (whole, checked) in [(tar.clone(), false), (gzip(&tar), true), (testing::zip(&want), true)] {
        let mut cases: Vec<Vec<u8>> = (0..whole.len()).step_by(7).map(|end| whole[..end].to_vec()).collect();
        for case in 0..600 {
            let mut rng = Rng::keyed(3, 0, case, 0);
            let mut bytes = whole.clone();
            bytes[rng.below(whole.len() as u32) as usize] = rng.next_u32() as u8;
            cases.push(bytes);
        }
        for bytes in cases {
            let (_dir, archive) = open(&bytes);
            let archive = match archive {
                Ok(archive) => archive,
                Err(error) => {
                    assert!(!error.to_string().contains('\n'), "{error}");
                    continue;
                }
            };
            for member in archive.below("") {
                let read = archive.read(member);
                let known = want.iter().find(|(name, _)| name == archive.name(member));
                // A plain tar has no checksum of its contents.
                if let (true, Ok(read), Some((_, written))) = (checked, read, known) {
                    assert!(*read == *written);
                }
            }
        }
    }
}

#[test]
fn names_of_archives() {
    for (name, archive, plain) in [
        ("a.tar", true, "a"),
        ("b.TAR.GZ", true, "b"),
        ("c.tgz", true, "c"),
        ("d.zip", true, "d"),
        ("e.gz", false, "e.gz"),
    ] {
        assert_eq!((is_archive_name(Path::new(name)), stem(name)), (archive, plain));
    }
}

/// A tar of two files, compressed by Python's `lzma`, in hexadecimal digits.
const XZ: &str = "fd377a585a000004e6d6b4460200210116000000742fe5a3e027ff007d5d00308bc223015f5e6a9c8994731606e99f3e\
    94629edb54e793e30e63499fce94404e84585df636fcd2fbd6826df089265a59b9315e01664b9c168bc7ac10120a1fc8\
    8853ee930948746afb96d12ff50eb0412d4283d6d22fe401246baf26ce5a46c11a7d380fc7a7eac12e0f90065df8d86e\
    b92c320bc1ce7eb0f9e20b60000000002fbf17449da7d6dc00019901805000006d22b945b1c467fb020000000004595a";

/// The same tar, compressed by Python's `bz2`.
const BZIP2: &str = "425a6839314159265359a89d6bec000089fb80cb8000104001f58000287292de60080820007412913234000620d1a092\
    534000d000d03ed2158e61a0c003a449088ed80f28067d84a4c210c03245d18e8523942150a041f0a0420c1afdad6370\
    378158d16b07ec4f1ee825d4ba97042cf4f8a49b2b9973bbcc440fc5dc914e14242a275afb00";

#[test]
fn xz_and_bzip2_are_unpacked() {
    let of = |digits: &str| -> Vec<u8> {
        (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).unwrap()).collect()
    };
    let want: testing::Written =
        vec![("a/1.jpg".into(), b"some bytes".to_vec()), ("b.txt".into(), b"text".to_vec())];
    for packed in [of(XZ), of(BZIP2)] {
        let (_dir, archive) = open(&packed);
        assert_eq!(content(&archive.unwrap()), want);
        for end in [7, packed.len() / 2, packed.len() - 5] {
            let message = refused(&packed[..end]);
            assert!(message.contains("damaged or truncated") || message.contains("no tar"), "{message}");
        }
        let mut changed = packed.clone();
        changed[packed.len() / 2] ^= 0x10;
        refused(&changed);
    }
    for name in ["a.tar.xz", "a.TXZ", "b.tar.bz2", "b.tbz2"] {
        assert!(is_archive_name(Path::new(name)), "{name}");
    }
    assert_eq!((stem("cub.tar.xz"), stem("cub.tbz2"), stem("cub.xz")), ("cub", "cub", "cub.xz"));
}

/// What another program does to the file makes an error, at the latest when a run asks.
#[test]
fn an_archive_that_is_shortened_while_it_is_read_is_an_error() {
    let want: testing::Written = (0..30).map(|i| (format!("{i:02}.jpg"), bytes(i, 30_000))).collect();
    for whole in [tar(&want), gzip(&tar(&want)), testing::zip(&want)] {
        let (dir, archive) = open(&whole);
        let archive = archive.unwrap();
        archive.unchanged().unwrap();
        let file = fs::File::options().write(true).open(dir.path().join("data.archive")).unwrap();
        file.set_len(whole.len() as u64 / 2).unwrap();
        assert!(*archive.read(0).unwrap() == *want[0].1, "what is left can be read");
        let told = archive.read(29).unwrap_err();
        assert!(told.contains("is shorter than when it was opened"), "{told}");
        let told = archive.unchanged().unwrap_err().to_string();
        assert!(told.contains("data.archive") && told.contains("changed by another program"), "{told}");
    }
}

#[test]
fn members_of_a_zip_that_share_bytes_or_inflate_too_far_are_refused() {
    let noise = bytes(1, 70_000);
    let plain = |name: &str, bytes: &[u8]| (name.to_string(), bytes.to_vec());
    let mut shared = testing::zip(&vec![plain("a.jpg", &noise), plain("b.jpg", &noise)]);
    // The second entry of the directory gets everything but the name from the first.
    let entry =
        |n: usize| shared.windows(4).enumerate().filter(|(_, w)| *w == b"PK\x01\x02").nth(n).unwrap().0;
    let (one, two) = (entry(0), entry(1));
    shared.copy_within(one + 10..one + 28, two + 10);
    shared.copy_within(one + 42..one + 46, two + 42);
    let message = refused(&shared);
    assert!(message.contains("a.jpg and b.jpg share bytes"), "{message}");

    let bomb = vec![0; 30 << 20];
    let message = refused(&testing::zip(&vec![plain("a.jpg", b"one"), plain("b.jpg", &bomb)]));
    assert!(message.contains("it inflates to over 200 times its size"), "{message}");
    // Beside enough of what hardly shrinks, the member alone is refused.
    let beside = bytes(2, 150_000);
    let (_dir, archive) = open(&testing::zip(&vec![plain("a.jpg", &beside), plain("b.jpg", &bomb)]));
    let archive = archive.unwrap();
    assert!(*archive.read(0).unwrap() == *beside);
    assert_eq!(archive.read(1).unwrap_err(), "inflates to over 200 times its size");
}

/// An archive is read, and never unpacked to where it lies.
#[test]
fn no_member_leads_out_of_its_archive() {
    let links = |kind: u8| {
        let targets = ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg"];
        targets.into_iter().enumerate().flat_map(move |(i, target)| {
            tar_member(&format!("link{}{i}.jpg", kind as char), kind, target, b"")
        })
    };
    let mut tar: Vec<u8> = links(b'1').chain(links(b'2')).collect();
    for name in ["../out.jpg", "a/../../out.jpg", "/absolute.jpg", "inside.jpg"] {
        tar.extend(tar_member(name, b'0', "", b"content"));
    }
    tar.extend([0; 1024]);
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("secret.jpg"), b"secret").unwrap();
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for bytes in [tar.clone(), gzip(&tar)] {
        fs::write(folder.join("data.tar"), bytes).unwrap();
        let archive = Archive::open(&folder.join("data.tar")).unwrap();
        let want = [("absolute.jpg", "content"), ("inside.jpg", "content")];
        assert_eq!(content(&archive), want.map(|(name, text)| (name.to_string(), text.into())));
        let passed_over: Vec<&str> = archive.passed_over().collect();
        assert_eq!(passed_over, ["../out.jpg", "a/../../out.jpg"]);
    }
    let names = |folder: &Path| fs::read_dir(folder).unwrap().count();
    assert_eq!((names(place.path()), names(&folder)), (2, 1));
}
