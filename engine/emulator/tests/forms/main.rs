//! Every instruction, type and modifier that the parser accepts, each with a program whose results were computed from the PTX ISA.

mod accepted;
mod run;
mod table;

use std::collections::BTreeSet;

use accepted::{Opcode, Parser};
use table::Table;

fn table() -> Table {
    Table::read(include_str!("table.txt"))
}

/// Shows what is wrong, as far as a screen holds it.
fn report(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{} {what}:\n{}", wrong.len(), wrong[..wrong.len().min(400)].join("\n"));
}

/// The search goes no further for a name of which so many forms without a program were found.
const MOST: usize = 400;

#[test]
fn every_program_of_the_table_gives_its_results() {
    let table = table();
    // For `ptxas.py`, which asks an assembler of PTX whether the forms of the table are its own.
    if let Ok(folder) = std::env::var("FORMS_FOLDER") {
        for (k, forms) in table.forms.chunks(250).enumerate() {
            std::fs::write(format!("{folder}/forms{k:03}.ptx"), run::file(&table, forms))
                .expect("a writable folder");
        }
    }
    let (compared, wrong) = run::all(&table);
    println!("{} forms, {} programs, {compared} results", run::programs(&table).len(), table.forms.len());
    report("programs are wrong", &wrong);
}

#[test]
fn every_accepted_form_has_a_program() {
    let table = table();
    let mut parser = Parser::new(&table);
    let forms: BTreeSet<Opcode> =
        table.forms.iter().flat_map(|f| f.opcodes()).map(|o| Opcode::parse(o).split(&table).0).collect();
    // Without this, the search could be blind.
    let unseen: Vec<String> = table
        .forms
        .iter()
        .flat_map(|f| f.opcodes())
        .map(Opcode::parse)
        .filter(|o| !parser.accepts(o))
        .map(|o| o.text().to_string())
        .collect();
    report("forms of the table are not found by the search", &unseen);
    for (name, words) in &table.hints {
        for word in words {
            let has = |o: &str| o.starts_with(&format!("{name}.")) && o.split('.').any(|w| w == word);
            assert!(
                table.forms.iter().flat_map(|f| f.opcodes()).any(has),
                "`{word}` has no program with `{name}`"
            );
        }
    }
    let accepted = accepted::search(&table, &mut parser, MOST);
    let missing: BTreeSet<String> = accepted
        .iter()
        .map(|o| o.split(&table).0)
        .filter(|o| !forms.contains(o))
        .map(|o| o.text().to_string())
        .collect();
    println!("{} forms are accepted, of {} that were tried", accepted.len(), parser.asked);
    if let Ok(file) = std::env::var("FORMS_MISSING") {
        std::fs::write(file, missing.iter().cloned().collect::<Vec<_>>().join("\n")).unwrap();
    }
    report("accepted forms have no program", &missing.into_iter().collect::<Vec<_>>());
}

#[test]
fn every_special_register_has_a_program() {
    let table = table();
    let accepted = accepted::special_registers();
    assert!(
        accepted.contains("%tid.x") && accepted.contains("%clock64"),
        "the search is blind: {accepted:?}"
    );
    let read: BTreeSet<&str> = table
        .forms
        .iter()
        .flat_map(|f| f.body.split(|c: char| c.is_whitespace() || c == ',' || c == ';'))
        .filter(|word| word.starts_with('%'))
        .collect();
    let missing: Vec<String> = accepted.into_iter().filter(|name| !read.contains(name.as_str())).collect();
    report("special registers have no program", &missing);
}
