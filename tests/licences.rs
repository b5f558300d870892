//! What the licences of the crates ask for. `cargo about` and `cargo deny` (about.toml, deny.toml) take minutes to build,
//! so these tests hold the files to the tree in their stead.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use toml::Table;

fn file(name: &str) -> String {
    fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The crates that the programs are built from on any platform, as `name version`, and their licences.
fn crates() -> Vec<(String, String)> {
    let args =
        "tree --locked --package svp-train --edges normal --target all --prefix none --format {p}|{l}|{r}";
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.split('|');
        let (package, licence) = (fields.next()?, fields.next()?);
        // Those of the project lie in folders, which stand behind their versions.
        let mut words = package.split(' ');
        let name = format!("{} {}", words.next()?, words.next()?.trim_start_matches('v'));
        words.all(|word| !word.starts_with("(/")).then(|| (name, licence.to_string()))
    });
    lines.collect()
}

fn words(table: &Table, key: &str) -> BTreeSet<String> {
    table[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_string()).collect()
}

/// Whether an expression such as `(MIT OR Apache-2.0) AND Zlib` leaves a choice among these. Of the `OR` in the old form
/// `MIT/Apache-2.0` too.
fn allows(allowed: &BTreeSet<String>, expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    // No crate has an OR of ANDs, so every part of an AND stands by itself.
    expression.split(" AND ").all(|part| {
        let mut choices = part.trim_matches(['(', ')']).split(" OR ");
        choices.any(|choice| allowed.contains(choice))
    })
}

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let deny: Table = file("deny.toml").parse().unwrap();
    let about: Table = file("about.toml").parse().unwrap();
    let allowed = words(deny["licenses"].as_table().unwrap(), "allow");
    assert_eq!(allowed, words(&about, "accepted"), "one list in two files");
    for (name, licence) in crates() {
        assert!(allows(&allowed, &licence), "{name} has the licence {licence:?}; see deny.toml");
    }
    let of = |expression| allows(&["MIT".into(), "Zlib".into()].into(), expression);
    assert!(of("Apache-2.0/MIT") && of("(MIT OR GPL-3.0) AND Zlib"));
    assert!(!of("GPL-3.0") && !of("MIT AND GPL-3.0") && !of(""));
}

#[test]
fn the_notices_are_those_of_the_crates() {
    let notices = file("THIRD-PARTY.md");
    let named: BTreeSet<String> = notices
        .lines()
        .filter_map(|line| line.strip_prefix("- "))
        .filter_map(|line| line.split_once(" <").map(|(name, _)| name.to_string()))
        .collect();
    let built: BTreeSet<String> = crates().into_iter().map(|(name, _)| name).collect();
    assert!(built.len() > 100, "{built:?}");
    let (missing, gone): (Vec<_>, Vec<_>) =
        (built.difference(&named).collect(), named.difference(&built).collect());
    assert!(
        missing.is_empty() && gone.is_empty(),
        "THIRD-PARTY.md lacks {missing:?} and has {gone:?} too many; CONTRIBUTING.md says how to make it anew"
    );
    for text in ["Permission is hereby granted", "Apache License", "bzip2", "UNICODE LICENSE V3"] {
        assert!(notices.contains(text), "the text of a licence is missing: {text}");
    }
}
