//! What names mean: those of a file, which all of its kernels share, and those of a block.

use std::collections::HashMap;
use std::sync::Arc;

use crate::isa::Slot;
use crate::layout::Global;
use crate::syntax::{Function, ParsedFile, Variable};
use crate::types::{Space, Type};

/// Where a variable lies in its space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    pub space: Space,
    pub at: u64,
    pub bytes: u64,
}

/// What a name means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name<'t, 'b> {
    Register(Type, Slot),
    Variable(Home),
    /// A shared variable without an address. It gets one when it is first used, so that a kernel does not pay for the
    /// variables of the other kernels of its file.
    Unplaced(&'b Variable<'t>),
    /// A label, by its number.
    Label(usize),
    /// A list of branch targets.
    Targets(&'b [&'t str]),
}

/// What the kernels of a file can name. It is looked up for every kernel, and made once.
#[derive(Debug)]
pub(crate) struct FileNames<'t, 'b> {
    /// The name of the file.
    pub(super) file: Arc<str>,
    /// The functions that can be called.
    pub(super) functions: HashMap<&'t str, &'b Function<'t>>,
    /// The names of source files, by the numbers of `.loc`.
    pub(super) sources: HashMap<u64, Arc<str>>,
    /// The variables of the module.
    pub(super) variables: HashMap<&'t str, Name<'t, 'b>>,
}

impl<'t, 'b> FileNames<'t, 'b> {
    /// Gathers the names of a file whose variables lie at `globals`.
    pub(crate) fn new(file: Arc<str>, text: &'b ParsedFile<'t>, globals: &[Global]) -> Self {
        let mut placed = globals.iter();
        let variables = text.variables.iter().map(|variable| {
            let name = match variable.space {
                Space::Shared => Name::Unplaced(variable),
                space => {
                    let global = placed.next().expect("every other variable was placed, in this order");
                    Name::Variable(Home { space, at: global.at, bytes: global.bytes })
                }
            };
            (variable.name, name)
        });
        let mut sources = HashMap::new();
        for &(number, path) in &text.sources {
            sources.entry(number).or_insert_with(|| base_name(path).into());
        }
        Self {
            file,
            functions: text.functions.iter().filter(|f| !f.entry).map(|f| (f.name, f)).collect(),
            sources,
            variables: variables.collect(),
        }
    }
}

/// The file name at the end of a path of any system.
fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The names of a block of statements.
#[derive(Debug, Default)]
pub(super) struct Scope<'t, 'b> {
    pub names: HashMap<&'t str, Name<'t, 'b>>,
    /// The type and the number of the registers of each counted declaration, such as `.reg .f32 %f<3>`, by its prefix.
    pub counted: HashMap<&'t str, (Type, u32)>,
}

impl Scope<'_, '_> {
    /// The type of a register of a counted declaration. A prefix may itself end in digits.
    pub fn counted(&self, name: &str) -> Option<Type> {
        if self.counted.is_empty() {
            return None;
        }
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        // A number of 32 bits has at most ten digits.
        (1..=digits.min(10)).find_map(|digits| {
            let (prefix, number) = name.split_at(name.len() - digits);
            let &(ty, count) = self.counted.get(prefix)?;
            let plain = number == "0" || !number.starts_with('0');
            (plain && number.parse::<u32>().is_ok_and(|n| n < count)).then_some(ty)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_registers_are_found_by_their_number() {
        let mut scope = Scope::default();
        scope.counted.insert("%r", (Type::B32, 12));
        scope.counted.insert("%rd1", (Type::B64, 3));
        let cases = [
            ("%r0", Some(Type::B32)),
            ("%r11", Some(Type::B32)),
            ("%r12", None),
            ("%r01", None),
            ("%r", None),
            ("%r4294967296", None),
            ("%rd10", Some(Type::B64)),
            ("%rd13", None),
            ("%rd1", None),
            ("%f1", None),
        ];
        for (name, want) in cases {
            assert_eq!(scope.counted(name), want, "{name}");
        }
    }
}
