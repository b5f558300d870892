use engine::Rng;

use super::*;
use crate::testing::{
    compressed, doubles, element, mat, matrix, packed_doubles, small_element, structs, text, texts,
};

/// The one variable of a file.
fn only(variable: Vec<u8>, name: &str) -> Array {
    let mut found = read(&mat(&[variable]), &[name]).unwrap().all;
    assert_eq!(found.len(), 1);
    found.remove(0).1
}

fn error(file: &[u8]) -> String {
    read(file, &["x"]).unwrap_err()
}

#[test]
fn variables_of_all_kinds_are_read() {
    let x = only(doubles("x", &[1.0, 2.5, -3.0]), "x");
    assert_eq!((x.dims.clone(), &x.data), (vec![3, 1], &Data::Numbers(vec![1.0, 2.5, -3.0])));
    assert_eq!(x.integers(), None);
    for values in [&[3, 1, 2][..], &[9, 8, 7, 6, 5]] {
        let x = only(packed_doubles("labels", values), "labels");
        assert_eq!(x.integers().unwrap(), values.iter().map(|&v| u32::from(v)).collect::<Vec<_>>());
    }
    let x = only(compressed(&matrix(9, &[2, 2], "x", &[small_element(2, &[1, 2, 3, 4])])), "x");
    assert_eq!(x, Array { dims: vec![2, 2], data: Data::Bytes(vec![1, 2, 3, 4]) });
    let shorts = matrix(11, &[1, 2], "x", &[small_element(4, &[1, 1, 2, 0])]);
    assert_eq!(only(shorts, "x").integers().unwrap(), [257, 2]);
    assert_eq!(only(text("x", "gr\u{fc}n"), "x").text(), Some("gr\u{fc}n"));
    let x = only(compressed(&texts("x", &["n1/a.jpg", "n2/b.jpg"])), "x");
    assert_eq!(x.texts().unwrap(), ["n1/a.jpg", "n2/b.jpg"]);
    let row = |path: &str, class: f64| vec![text("", path), doubles("", &[class])];
    let x = only(structs("x", &["path", "class"], &[row("a", 2.0), row("b", 1.0)]), "x");
    let paths: Vec<_> = x.field("path").unwrap().iter().map(|path| path.text().unwrap()).collect();
    assert_eq!(paths, ["a", "b"]);
    assert_eq!(x.field("class").unwrap()[1].integers().unwrap(), [1]);
    assert!(x.field("test").is_none());
    // A sparse matrix, whose class is not read.
    assert_eq!(only(matrix(5, &[1, 1], "x", &[]), "x").data, Data::Other);
    // An empty cell.
    assert_eq!(
        only(matrix(1, &[1, 1], "x", &[element(14, &[])]), "x").data,
        Data::Cells(vec![Array { dims: vec![0, 0], data: Data::Bytes(vec![]) }])
    );
}

#[test]
fn only_the_wanted_variables_are_read() {
    let broken = matrix(6, &[7, 1], "broken", &[element(99, &[])]);
    let file = mat(&[broken, compressed(&doubles("y", &[1.0])), doubles("x", &[2.0])]);
    let found = read(&file, &["x", "y"]).unwrap().all;
    assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["y", "x"]);
    assert!(read(&file, &["broken"]).unwrap_err().contains("type 99"));
}

#[test]
fn files_that_are_not_read_say_why() {
    let mut big_endian = mat(&[]);
    big_endian[124..128].copy_from_slice(&[1, 0, b'M', b'I']);
    let nested = (0..20).fold(doubles("", &[1.0]), |inner, _| matrix(1, &[1, 1], "x", &[inner]));
    let bomb = compressed(&matrix(9, &[80 << 20, 1], "x", &[element(2, &vec![0; 80 << 20])]));
    for (file, want) in [
        (b"\x89HDF\r\n".to_vec(), "7.3"),
        (b"text".to_vec(), "no MATLAB level-5 file"),
        (big_endian, "big-endian"),
        (mat(&[nested]), "deep"),
        (mat(&[bomb]), "inflates to over "),
        (mat(&[element(15, b"not zlib")]), "damaged"),
        (mat(&[matrix(6, &[1 << 31, 1 << 31, 1 << 31], "x", &[])]), "impossible size"),
        (mat(&[matrix(1, &[1 << 30, 1], "x", &[])]), "impossible size"),
        (mat(&[matrix(2, &[1, 1], "x", &[element(5, &[0; 4]), element(1, b"")])]), "no names"),
        (mat(&[matrix(9, &[3, 1], "x", &[small_element(2, &[1, 2])])]), "3 elements that holds 2"),
        (mat(&[small_element(14, &[0; 4])]), "truncated"),
    ] {
        let message = error(&file);
        assert!(message.contains(want), "{want}: {message}");
    }
}

/// Cut anywhere, or with bytes changed, a file is read or refused.
#[test]
fn damaged_files_do_no_harm() {
    let row = |path: &str, class: f64| vec![text("", path), doubles("", &[class])];
    let variables =
        [structs("x", &["path", "class"], &[row("a", 2.0), row("b", 1.0)]), texts("y", &["a", "b"])];
    let packed: Vec<Vec<u8>> = variables.iter().map(|variable| compressed(variable)).collect();
    for file in [mat(&variables), mat(&packed)] {
        let whole = read(&file, &["x", "y"]).unwrap().all;
        // The variables before the cut are there. A cut between two variables does not show.
        let cuts = (0..file.len()).map(|end| read(&file[..end], &["x", "y"]));
        let found: Vec<_> = cuts.filter_map(Result::ok).map(|found| found.all).collect();
        assert!(found.iter().all(|found| whole.starts_with(found)) && found.len() < 20, "{}", found.len());
        for case in 0..3000 {
            let mut rng = Rng::keyed(4, 0, case, 0);
            let mut bytes = file.clone();
            for _ in 0..1 + rng.below(3) {
                bytes[128 + rng.below(file.len() as u32 - 128) as usize] =
                    [0, 1, 255, rng.next_u32() as u8][rng.below(4) as usize];
            }
            let _ = read(&bytes, &["x", "y"]);
        }
    }
}

/// A byte of a file may become a number of eight.
#[test]
fn what_values_take_is_claimed() {
    let claimed = |read: &dyn Fn(&mut Claim) -> Parsed<()>| {
        let mut claim = Claim::default();
        read(&mut claim).unwrap();
        format!("{claim:?}")
    };
    assert_eq!(claimed(&|claim| numbers(INT8, &[0; 10], claim).map(drop)), "Claim(80)");
    assert_eq!(claimed(&|claim| numbers(DOUBLE, &[0; 16], claim).map(drop)), "Claim(16)");
    assert_eq!(claimed(&|claim| super::text(UTF8, b"abc", claim).map(drop)), "Claim(9)");
}
