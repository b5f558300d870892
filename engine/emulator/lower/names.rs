//! What names mean: those of a file, which all of its kernels share, and those of a block.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::calls_of::CallsOf;
use crate::fault::ParseError;
use crate::isa::Slot;
use crate::layout::Global;
use crate::program::function_address;
use crate::syntax::{AddressValue, Function, ParsedFile, Prototype, Variable};
use crate::types::{Space, Type};

/// Where a variable lies in its space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    pub space: Space,
    /// The offset, which counts from the frame pointer if the variable is one of a function out of line.
    pub at: u64,
    pub bytes: u64,
    pub in_frame: bool,
}

/// What a name means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name<'t, 'b> {
    Register(Type, Slot),
    /// A vector register, by the slots of its elements.
    Vector(Type, VectorSlots),
    Variable(Home),
    /// A shared variable without an address. It gets one when it is first used, so that a kernel does not pay for the
    /// variables of the other kernels of its file.
    Unplaced(&'b Variable<'t>),
    /// A label, by its number.
    Label(usize),
    /// A list of branch targets, or of functions.
    Targets(&'b [&'t str]),
    /// The parameters of an indirect call.
    Prototype(&'b Prototype<'t>),
    /// A name of the module that cannot be used, by the number of the reason.
    Refused(usize),
}

/// The slots of a vector register: one for each element, of which there are 2 or 4.
#[derive(Debug, Clone, Copy)]
pub(super) struct VectorSlots {
    pub slots: [Slot; 4],
    pub count: u8,
}

impl VectorSlots {
    /// The element that the end of a name means: `x` or `r` is the first.
    pub fn element(&self, end: &str) -> Option<Slot> {
        let at = ["x", "y", "z", "w"].iter().position(|c| *c == end);
        let at = at.or_else(|| ["r", "g", "b", "a"].iter().position(|c| *c == end))?;
        self.slots[..self.count as usize].get(at).copied()
    }
}

/// A function that can be called, with its number in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Callee<'t, 'b> {
    pub number: u32,
    pub function: &'b Function<'t>,
}

/// What the kernels of a file can name. It is looked up for every kernel, and made once.
#[derive(Debug)]
pub(crate) struct FileNames<'t, 'b> {
    /// The name of the file.
    pub(super) file: Arc<str>,
    /// The functions that can be called.
    pub(super) functions: HashMap<&'t str, Callee<'t, 'b>>,
    /// The names of source files, by the numbers of `.loc`.
    pub(super) sources: HashMap<u64, Arc<str>>,
    /// The variables of the module.
    pub(super) variables: HashMap<&'t str, Name<'t, 'b>>,
    /// Why names of the module cannot be used.
    pub(super) refused: Vec<ParseError>,
    /// The functions on cycles of calls, by their numbers.
    pub(super) recursive: HashSet<u32>,
    /// The functions whose address is taken.
    pub(super) taken: Vec<Callee<'t, 'b>>,
}

impl<'t, 'b> FileNames<'t, 'b> {
    /// Gathers the names of a file whose variables lie at `globals`.
    pub(crate) fn new(file: Arc<str>, text: &'b ParsedFile<'t>, globals: &[Global]) -> Self {
        let refused = text.refused.iter().map(|(_, error)| error.clone()).collect();
        let unusable = text.refused.iter().enumerate().map(|(k, &(name, _))| (name, Name::Refused(k)));
        let mut placed = globals.iter();
        let usable = text.variables.iter().map(|variable| {
            let name = match variable.space {
                Space::Shared => Name::Unplaced(variable),
                space => {
                    let global = placed.next().expect("every other variable was placed, in this order");
                    Name::Variable(Home { space, at: global.at, bytes: global.bytes, in_frame: false })
                }
            };
            (variable.name, name)
        });
        let mut sources = HashMap::new();
        for &(number, path) in &text.sources {
            sources.entry(number).or_insert_with(|| base_name(path).into());
        }
        let mut functions = HashMap::new();
        for (number, function) in (0..).zip(&text.functions).filter(|(_, f)| !f.entry) {
            functions.insert(function.name, Callee { number, function });
        }
        for &(name, of) in &text.aliases {
            if let Some(&callee) = functions.get(of) {
                functions.insert(name, callee);
            }
        }
        let calls = CallsOf::gather(text, &functions);
        Self {
            file,
            sources,
            variables: unusable.chain(usable).collect(),
            refused,
            recursive: calls.recursive(),
            taken: calls.taken,
            functions,
        }
    }

    /// Fills in the initial values that are addresses. A variable that names something without an address cannot be used.
    pub(crate) fn fill(&mut self, text: &'b ParsedFile<'t>, globals: &mut [Global]) {
        let in_memory = |v: &Variable<'_>| v.space != Space::Shared;
        let mut number = 0;
        let numbers: Vec<usize> = text
            .variables
            .iter()
            .map(|v| {
                number += usize::from(in_memory(v));
                number.saturating_sub(1)
            })
            .collect();
        for value in &text.addresses {
            match self.address_value(value) {
                Ok(bits) => {
                    let init = &mut globals[numbers[value.variable]].init;
                    init[value.at..value.at + value.bytes]
                        .copy_from_slice(&bits.to_le_bytes()[..value.bytes]);
                }
                Err(message) => {
                    let error = ParseError { file: self.file.to_string(), line: value.line, message };
                    self.refused.push(error);
                    let name = text.variables[value.variable].name;
                    self.variables.insert(name, Name::Refused(self.refused.len() - 1));
                }
            }
        }
    }

    /// The bits of an initial value that is an address.
    fn address_value(&self, value: &AddressValue<'t>) -> Result<u64, String> {
        let name = value.name;
        let at = match (self.variables.get(name), self.functions.get(name)) {
            (Some(Name::Variable(home)), _) => home.at,
            (None, Some(callee)) => function_address(callee.number),
            (Some(Name::Refused(reason)), _) => return Err(self.refused[*reason].message.clone()),
            _ => return Err(format!("the address of `{name}` is no initial value that is supported")),
        };
        let at = at.wrapping_add(value.offset as u64);
        if value.bytes == 4 && value.mask == u64::from(u32::MAX) && at > value.mask {
            return Err(format!("the address of `{name}` has more than 32 bits"));
        }
        Ok((at & value.mask) >> value.mask.trailing_zeros())
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
    /// The registers of each counted declaration, such as `.reg .f32 %f<3>`, by its prefix.
    pub counted: HashMap<&'t str, Counted>,
}

/// The registers of a counted declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub ty: Type,
    pub count: u32,
    /// The elements of each.
    pub elements: u32,
}

impl Scope<'_, '_> {
    /// The counted declaration of a register. A prefix may itself end in digits.
    pub fn counted(&self, name: &str) -> Option<Counted> {
        if self.counted.is_empty() {
            return None;
        }
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        // A number of 32 bits has at most ten digits.
        (1..=digits.min(10)).find_map(|digits| {
            let (prefix, number) = name.split_at(name.len() - digits);
            let &counted = self.counted.get(prefix)?;
            let plain = number == "0" || !number.starts_with('0');
            (plain && number.parse::<u32>().is_ok_and(|n| n < counted.count)).then_some(counted)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_registers_are_found_by_their_number() {
        let mut scope = Scope::default();
        scope.counted.insert("%r", Counted { ty: Type::B32, count: 12, elements: 1 });
        scope.counted.insert("%rd1", Counted { ty: Type::B64, count: 3, elements: 1 });
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
            assert_eq!(scope.counted(name).map(|c| c.ty), want, "{name}");
        }
    }
}
