//! The names of kernels as people write them: C++ compilers put the types of the parameters into a symbol.

use std::fmt;

use cpp_demangle::{BorrowedSymbol, DemangleOptions};

use crate::module::{Entry, Module};

/// The most bytes of a name that is read back. A short symbol can stand for an endless one.
const LONGEST: usize = 2048;
/// The most kernels that a message lists.
const MOST_LISTED: usize = 20;

/// A text with a limit to its length.
#[derive(Default)]
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

/// A symbol as C++ writes it, such as `scale(float*, int)`; `None` for other names.
fn demangled(symbol: &str, options: DemangleOptions) -> Option<String> {
    let parsed = BorrowedSymbol::new(symbol.as_bytes()).ok().filter(|_| symbol.starts_with("_Z"))?;
    let mut out = Bounded::default();
    parsed.structured_demangle(&mut out, &options).ok()?;
    Some(out.0)
}

impl Entry {
    /// The name as C++ writes it, such as `scale(float*, int)`; the symbol where that is not one of C++.
    pub fn readable(&self) -> String {
        demangled(&self.name, DemangleOptions::new().no_return_type()).unwrap_or_else(|| self.name.clone())
    }
}

/// Whether a name that a person writes means a kernel of a template, whatever the template's arguments are.
fn means_template(wanted: &str, symbol: &str) -> bool {
    let plain = DemangleOptions::new().no_return_type().no_params();
    demangled(symbol, plain).is_some_and(|name| without_arguments(&name) == Some(wanted))
}

/// The name of a template, `a<b>::twice` of `a<b>::twice<float>`; `None` for a name that ends in no arguments.
fn without_arguments(name: &str) -> Option<&str> {
    let mut open = 0;
    let (at, _) = name.rmatch_indices(['<', '>']).find(|&(_, bracket)| {
        open += if bracket == ">" { 1 } else { -1 };
        open <= 0
    })?;
    (name.ends_with('>') && open == 0).then(|| &name[..at])
}

/// Whether a name that a person writes means a kernel: with the types of its parameters or without.
fn means(wanted: &str, symbol: &str) -> bool {
    let options = DemangleOptions::new();
    [options, options.no_return_type(), options.no_return_type().no_params()]
        .into_iter()
        .any(|options| demangled(symbol, options).is_some_and(|name| name == wanted))
}

/// The names of kernels, as a message lists them.
fn list<'e>(entries: impl ExactSizeIterator<Item = &'e Entry>) -> String {
    let more = entries.len().saturating_sub(MOST_LISTED);
    let names: Vec<String> = entries.take(MOST_LISTED).map(Entry::readable).collect();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names.join(", "))
}

impl Module {
    /// The position of a kernel among the entries, by its symbol or by a name of C++ that means no other, without the
    /// arguments of a template too. The error says which kernels there are.
    pub(crate) fn find(&self, name: &str) -> Result<usize, String> {
        let entries = self.entries();
        if let Some(at) = entries.iter().position(|e| e.name == name) {
            return Ok(at);
        }
        let all = |meant: fn(&str, &str) -> bool| -> Vec<usize> {
            (0..entries.len()).filter(|&at| meant(name, &entries[at].name)).collect()
        };
        let mut found = all(means);
        if found.is_empty() {
            found = all(means_template);
        }
        match found.as_slice() {
            [at] => Ok(*at),
            [] if entries.is_empty() => Err(format!("{} has no kernels", self.file())),
            [] => Err(format!("{} has no kernel of this name, but {}", self.file(), list(entries.iter()))),
            _ => Err(format!(
                "this name means several kernels: {}",
                list(found.iter().map(|&at| &entries[at]))
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::without_arguments;

    #[test]
    fn only_the_last_arguments_are_left_out() {
        for (name, want) in [
            ("twice<float>", Some("twice")),
            ("a<b>::twice<pair<int, c<d>>>", Some("a<b>::twice")),
            ("a<b>::twice", None),
            ("twice", None),
            ("x>", None),
            ("<>>", None),
            ("", None),
        ] {
            assert_eq!(without_arguments(name), want, "{name}");
        }
    }
}
