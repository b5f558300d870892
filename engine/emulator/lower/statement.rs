//! Statements in their order: names are declared, opcodes are dispatched, and calls are inlined.

use super::builder::{Builder, InlinedCall, Lowered};
use super::modifiers::Modifiers;
use super::names::{Name, Scope};
use crate::isa::Op;
use crate::meter::Class;
use crate::syntax::{Instruction, Operand, Statement};
use crate::types::Type;

/// How deep calls may nest.
const DEEPEST_CALL: usize = 16;
/// How deep blocks may nest, those of the calls included: each needs a part of the stack.
const DEEPEST_BLOCK: usize = 128;
/// The steps of entering a block.
const BLOCK_STEPS: usize = 16;

/// The steps of one statement, without those of its operands.
fn steps(statement: &Statement<'_>) -> usize {
    let name = match statement {
        Statement::Label(name) | Statement::Targets { name, .. } | Statement::Registers { name, .. } => name,
        Statement::Variable(variable) => variable.name,
        Statement::Instruction(instruction) => instruction.opcode,
        Statement::Source { .. } | Statement::Block(_) => "",
    };
    4 + name.len() / 16
}

impl<'t, 'b> Builder<'t, 'b> {
    /// Lowers the statements of a block, in a scope of its own.
    pub(super) fn block(&mut self, statements: &'b [Statement<'t>]) -> Lowered<()> {
        if self.depth == DEEPEST_BLOCK {
            return self
                .fail(format!("blocks, with their calls inlined, are nested deeper than {DEEPEST_BLOCK}"));
        }
        self.depth += 1;
        self.take(BLOCK_STEPS + statements.iter().map(steps).sum::<usize>())?;
        let mut scope = Scope::default();
        for statement in statements {
            match statement {
                Statement::Label(name) => {
                    self.labels.push(None);
                    if scope.names.insert(name, Name::Label(self.labels.len() - 1)).is_some() {
                        return self.fail(format!("label `{name}` is defined twice"));
                    }
                }
                Statement::Targets { name, labels } => {
                    scope.names.insert(name, Name::Targets(labels));
                }
                _ => {}
            }
        }
        self.scopes.push(scope);
        for statement in statements {
            self.statement(statement)?;
        }
        self.scopes.pop();
        self.depth -= 1;
        Ok(())
    }

    /// Lowers one statement.
    fn statement(&mut self, statement: &'b Statement<'t>) -> Lowered<()> {
        match statement {
            Statement::Label(name) => {
                let Some(Name::Label(label)) = self.lookup(name)? else {
                    return self.fail(format!("label `{name}` is not known"));
                };
                self.labels[label] = Some(self.program.code.len() as u32);
            }
            Statement::Targets { .. } => {}
            Statement::Registers { ty, name, count: Some(count) } => {
                if self.scope().counted.insert(name, (*ty, *count)).is_some() {
                    return self.fail(format!("registers `{name}` are declared twice"));
                }
            }
            Statement::Registers { ty, name, count: None } => {
                let slot = self.new_slot(ty.file());
                self.scope().names.insert(name, Name::Register(*ty, slot));
            }
            Statement::Variable(variable) => self.declare(variable)?,
            Statement::Source { file, line } => {
                let name = self.file.sources.get(file);
                // Line 0 marks code without a source line.
                self.source = if *line == 0 { None } else { name.map(|name| (name.clone(), *line)) };
            }
            Statement::Block(statements) => self.block(statements)?,
            Statement::Instruction(instruction) => {
                self.line = instruction.line;
                self.instruction(instruction)?;
            }
        }
        self.check_registers()
    }

    /// Lowers one instruction.
    fn instruction(&mut self, i: &Instruction<'t>) -> Lowered<()> {
        let mut mods = Modifiers::new(i.opcode);
        let m = &mut mods;
        if !m.legal() {
            return self.unsupported(i);
        }
        match m.name {
            "add" | "sub" | "mul" | "min" | "max" | "neg" | "abs" | "div" | "mad" | "fma" | "set"
            | "setp" | "selp" => self.typed(i, m),
            "not" | "and" | "or" | "xor" | "cnot" | "shl" | "shr" | "rem" | "popc" | "clz" | "bfind"
            | "brev" | "sad" | "bfe" | "bfi" | "prmt" | "shf" | "lop3" | "addc" | "subc" | "madc"
            | "dp4a" => self.integer(i, m),
            "sqrt" | "rcp" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "copysign" | "testp" => {
                self.float(i, m)
            }
            "mov" => self.mov(i, m),
            "cvt" => self.convert(i, m),
            "cvta" | "isspacep" => self.generic(i, m),
            "ld" | "ldu" => self.load(i, m),
            "st" => self.store(i, m),
            "atom" | "red" => self.atomic(i, m),
            "cp" => self.copy(i, m),
            "prefetch" | "prefetchu" | "discard" | "applypriority" | "pmevent" | "nanosleep" | "brkpt" => {
                self.nothing(i, m)
            }
            "bra" => self.branch(i, m),
            "brx" => self.branch_table(i, m),
            "call" => self.call(i, m),
            "ret" => self.ret(i, m),
            "exit" | "trap" => self.end(i, m),
            "bar" | "barrier" => self.barrier(i, m),
            "membar" | "fence" => self.fence(i, m),
            "shfl" => self.shuffle(i, m),
            "vote" => self.vote(i, m),
            "match" => self.matching(i, m),
            "redux" => self.redux(i, m),
            "activemask" => {
                if !m.takes("b32") {
                    return self.unsupported(i);
                }
                self.done(i, m)?;
                let [d] = self.operands(i)?;
                let d = self.dst(d, Type::B32)?;
                self.emit(i, Class::Vote, Op::ActiveMask { d })
            }
            _ => self.unsupported(i),
        }
    }

    /// Lowers an opcode that whole numbers and floats share.
    fn typed(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        let last = i.opcode.rsplit('.').next().and_then(Type::parse);
        match (m.name, last) {
            ("setp" | "set", _) => self.compare(i, m),
            ("selp", _) => self.select(i, m),
            (_, Some(ty)) if ty.float() => self.float(i, m),
            (_, Some(_)) => self.integer(i, m),
            _ => self.unsupported(i),
        }
    }

    /// Lowers `call.uni (retval0), name, (param0, param1);` to the body of the function.
    fn call(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        m.takes("uni");
        self.done(i, m)?;
        if i.guard.is_some() {
            return self.fail("a guarded call is not supported");
        }
        let mut operands = i.operands.as_slice();
        let returns: &[Operand<'t>] = match operands {
            [Operand::List(list), rest @ ..] => {
                operands = rest;
                list
            }
            _ => &[],
        };
        let (name, args): (_, &[Operand<'t>]) = match operands {
            [Operand::Name(name, 0)] => (*name, &[]),
            [Operand::Name(name, 0), Operand::List(args)] => (*name, args),
            _ => return self.fail("a call needs the name of a function"),
        };
        let Some(function) = self.file.functions.get(name).copied() else {
            return self.fail(format!("`{name}` is called, but this file does not define it"));
        };
        if self.calls.iter().any(|c| c.name == name) {
            return self.fail(format!("`{name}` calls itself"));
        }
        if self.calls.len() == DEEPEST_CALL {
            return self.fail(format!("calls are nested deeper than {DEEPEST_CALL}"));
        }
        if args.len() != function.params.len() || returns.len() != function.returns.len() {
            return self.fail(format!("`{name}` is called with another number of parameters than it has"));
        }
        let mut scope = Scope::default();
        let formals = function.params.iter().chain(&function.returns);
        for (formal, actual) in formals.zip(args.iter().chain(returns)) {
            let home = match actual {
                Operand::Name(n, 0) => self.lookup(n)?,
                _ => None,
            };
            let Some(Name::Variable(home)) = home else {
                return self.fail("the parameters of a call must be .param variables");
            };
            if home.bytes != formal.bytes {
                return self.fail(format!(
                    "parameter `{}` has {} bytes, {} are given",
                    formal.name, formal.bytes, home.bytes
                ));
            }
            scope.names.insert(formal.name, Name::Variable(home));
        }
        self.labels.push(None);
        let end = self.labels.len() - 1;
        self.calls.push(InlinedCall { name, end });
        // The function sees the names of the module and its parameters, and nothing of its caller.
        let callers = self.scopes.split_off(1);
        self.scopes.push(scope);
        let source = self.source.clone();
        self.block(&function.body)?;
        self.source = source;
        self.scopes.truncate(1);
        self.scopes.extend(callers);
        self.calls.pop();
        self.labels[end] = Some(self.program.code.len() as u32);
        Ok(())
    }
}
