//! Which functions of a file call which, and whose addresses are taken.

use std::collections::{HashMap, HashSet};

use super::names::Callee;
use crate::syntax::{Operand, ParsedFile, Statement};

/// The calls of a file.
pub(super) struct CallsOf<'t, 'b> {
    /// From a function to one that it calls directly, by their numbers.
    edges: Vec<(u32, u32)>,
    /// The functions whose address is taken.
    pub taken: Vec<Callee<'t, 'b>>,
}

/// What is looked for in the statements of one function.
struct Walk<'w, 't, 'b> {
    functions: &'w HashMap<&'t str, Callee<'t, 'b>>,
    from: u32,
    /// The functions whose address is taken so far.
    known: HashSet<u32>,
    calls: CallsOf<'t, 'b>,
}

impl<'t, 'b> CallsOf<'t, 'b> {
    /// Looks through all functions and initial values.
    pub fn gather(text: &'b ParsedFile<'t>, functions: &HashMap<&'t str, Callee<'t, 'b>>) -> Self {
        let calls = Self { edges: Vec::new(), taken: Vec::new() };
        let mut walk = Walk { functions, from: 0, known: HashSet::new(), calls };
        if functions.is_empty() {
            return walk.calls;
        }
        text.addresses.iter().for_each(|value| walk.takes(value.name));
        for (number, function) in (0..).zip(&text.functions) {
            walk.from = number;
            walk.statements(&function.body);
        }
        walk.calls
    }

    /// The functions that may be on a cycle of direct calls: what is left when those that call nothing, or that nothing
    /// calls, are taken away one after the other.
    pub fn recursive(&self) -> HashSet<u32> {
        let mut left: HashSet<u32> = self.edges.iter().flat_map(|&(from, to)| [from, to]).collect();
        for back in [false, true] {
            let edges = self.edges.iter().map(|&(from, to)| if back { (to, from) } else { (from, to) });
            let edges: Vec<(u32, u32)> =
                edges.filter(|(a, b)| left.contains(a) && left.contains(b)).collect();
            let mut count: HashMap<u32, usize> = left.iter().map(|&n| (n, 0)).collect();
            let mut into: HashMap<u32, Vec<u32>> = HashMap::new();
            for (from, to) in edges {
                *count.entry(from).or_default() += 1;
                into.entry(to).or_default().push(from);
            }
            let mut free: Vec<u32> = count.iter().filter(|(_, n)| **n == 0).map(|(&f, _)| f).collect();
            while let Some(function) = free.pop() {
                left.remove(&function);
                for from in into.get(&function).into_iter().flatten() {
                    let n = count.entry(*from).or_default();
                    *n -= 1;
                    if *n == 0 {
                        free.push(*from);
                    }
                }
            }
        }
        left
    }
}

impl<'t, 'b> Walk<'_, 't, 'b> {
    /// Notes a name as one whose address is taken, if it is that of a function.
    fn takes(&mut self, name: &str) {
        if let Some(&callee) = self.functions.get(name)
            && self.known.insert(callee.number)
        {
            self.calls.taken.push(callee);
        }
    }

    /// Looks through statements. How deep they nest is bounded by the parser.
    fn statements(&mut self, statements: &[Statement<'t>]) {
        for statement in statements {
            match statement {
                Statement::Block(inner) => self.statements(inner),
                Statement::Targets { labels, .. } => labels.iter().for_each(|name| self.takes(name)),
                Statement::Instruction(i) if i.opcode == "call" || i.opcode.starts_with("call.") => {
                    for operand in &i.operands {
                        if let Operand::Name(name, 0) = operand
                            && let Some(callee) = self.functions.get(name)
                        {
                            self.calls.edges.push((self.from, callee.number));
                        }
                    }
                }
                Statement::Instruction(i) => {
                    for operand in &i.operands {
                        if let Operand::Name(name, _) = operand {
                            self.takes(name);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_on_cycles_are_found() {
        let recursive = |edges: &[(u32, u32)]| {
            let mut all: Vec<u32> =
                CallsOf { edges: edges.to_vec(), taken: Vec::new() }.recursive().into_iter().collect();
            all.sort_unstable();
            all
        };
        assert_eq!(recursive(&[(0, 1), (1, 2), (0, 2), (0, 2)]), []);
        assert_eq!(recursive(&[(0, 1), (1, 1), (1, 2)]), [1]);
        assert_eq!(recursive(&[(0, 1), (1, 2), (2, 3), (3, 1), (3, 4)]), [1, 2, 3]);
        assert_eq!(recursive(&[(5, 5), (5, 6), (7, 7), (7, 7)]), [5, 7]);
    }
}
