//! The README's op table is the registry's.

#[test]
fn the_op_table_is_current() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let table = ptx::registry::table();
    assert!(readme.contains(&table), "README.md must contain:\n\n{table}");
}
