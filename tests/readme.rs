//! docs/ops.md is written from the registry of ops, and the table of methods in README.md is the registry's.

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ops.md");
const COMMAND: &str = "UPDATE_DOCS=1 cargo test --release --test readme";

/// The page that the registry generates.
fn page() -> String {
    format!(
        "# Ops\n\n\
         One folder in `ptx/` each; [adding-an-op.md](adding-an-op.md) says how to add one. Cases are those of\n\
         `cargo test --release --test conformance`. This page is written by\n\
         `{COMMAND}`.\n\n{}",
        ptx::registry::table()
    )
}

#[test]
fn the_op_table_is_current() {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, page()).expect("docs/ops.md can be written");
    }
    let found = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(found == page(), "docs/ops.md is old. Write it again: {COMMAND}");
}

#[test]
fn the_table_of_methods_is_current() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let found =
        readme.split_once("<!-- methods -->\n").and_then(|(_, rest)| rest.split_once("<!-- /methods -->"));
    let want = svp::methods::table();
    let found = found.map(|(table, _)| table.trim_start());
    assert!(found == Some(&want), "README.md must have, between its marks:\n\n{want}");
}

#[test]
fn the_manual_names_the_preset_of_every_method() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/manual.md")).unwrap();
    let section =
        manual.split_once("\n## Presets\n").and_then(|(_, rest)| rest.split_once("\n## ")).unwrap().0;
    let named: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "))
        .flat_map(|(names, _)| names.split(", "))
        .map(|name| name.trim_matches('`'))
        .collect();
    for entry in svp::methods::METHODS {
        assert!(named.contains(&entry.name), "docs/manual.md has no line for the preset {}", entry.name);
    }
}
