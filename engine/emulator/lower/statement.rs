//! Statements in their order: names are declared, opcodes are dispatched, and calls are inlined.

use super::builder::{Builder, Lowered};
use super::modifiers::Modifiers;
use super::names::{Counted, Name, Scope};
use super::video::is_video;
use crate::isa::Op;
use crate::meter::Class;
use crate::syntax::{Instruction, Statement};
use crate::types::Type;

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
        Statement::Prototype(prototype) => prototype.name,
        Statement::Source { .. } | Statement::UsedBytes(_) | Statement::Block(_) => "",
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
                Statement::Prototype(prototype) => {
                    scope.names.insert(prototype.name, Name::Prototype(prototype));
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
            Statement::Targets { .. } | Statement::Prototype(_) => {}
            &Statement::Registers { ty, elements, name, count: Some(count) } => {
                self.declare_counted(name, Counted { ty, count, elements })?;
            }
            &Statement::Registers { ty, elements, name, count: None } => {
                let register = self.new_register(name, ty, elements);
                self.scope().names.insert(name, register);
            }
            Statement::UsedBytes(mask) => self.used_bytes = Some(*mask),
            Statement::Variable(variable) => self.declare(variable)?,
            Statement::Source { file, line } => {
                let name = self.file.sources.get(file);
                // Line 0 marks code without a source line.
                self.source = if *line == 0 { None } else { name.map(|name| (name.clone(), *line)) };
            }
            Statement::Block(statements) => self.block(statements)?,
            Statement::Instruction(instruction) => {
                self.line = instruction.line;
                self.opcode = instruction.opcode;
                match self.spelled_out(&instruction.operands)? {
                    None => self.instruction(instruction)?,
                    Some(operands) => {
                        let guard = instruction.guard;
                        self.instruction(&Instruction { guard, operands, ..*instruction })?;
                    }
                }
                self.used_bytes = None;
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
            "dp2a" | "bmsk" | "szext" | "fns" | "mul24" | "mad24" => self.rare_words(i, m),
            name if is_video(name) => self.video(i, m),
            "slct" => self.select_by_sign(i, m),
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
            "mma" => self.mma(i, m),
            "wmma" => self.wmma(i, m),
            "ldmatrix" | "stmatrix" => self.rows(i, m),
            "movmatrix" => self.transpose(i, m),
            "mbarrier" => self.mbarrier(i, m),
            "mapa" => self.map_rank(i, m),
            "getctarank" => self.rank_of(i, m),
            "elect" => self.elect(i, m),
            "setmaxnreg" | "griddepcontrol" => self.hint(i, m),
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
            ("add" | "min" | "max", None) => self.pairs(i, m),
            (_, Some(ty)) if ty.float() => self.float(i, m),
            (_, Some(_)) => self.integer(i, m),
            _ => self.unsupported(i),
        }
    }
}
