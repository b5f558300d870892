//! From text to a [`Program`]: names to slots and addresses, opcodes to operations, calls inlined.

mod control;
mod convert;
mod float;
mod integer;
mod memory;
mod modifiers;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ParseError;
use crate::flow;
use crate::isa::{Op, Slot};
use crate::meter::{Class, Line};
use crate::module::{Global, Param, functions};
use crate::program::{Inst, LOCAL_GAP, Placed, Program, SHARED_BASE, SHARED_GAP, Special};
use crate::syntax::{Function, Instruction, Operand, Statement, Text, Variable};
use crate::types::{File, Space, Type};

type Lowered<T> = Result<T, ParseError>;

/// Calls are inlined; deeper means recursion.
const DEEPEST_CALL: usize = 16;
/// Calls in one kernel, nested ones counted each time.
const MOST_CALLS: usize = 1 << 14;
/// Bytes of local memory a thread: every lane of a worker's block has its own.
const MOST_LOCAL: u64 = 64 << 10;
/// More than any kernel, so that nested calls cannot take all memory.
const MOST_INSTRUCTIONS: usize = 1 << 21;

pub(crate) fn lower(
    file: &str,
    text: &Text<'_>,
    globals: &[Global],
    function: &Function<'_>,
    params: &[Param],
) -> Lowered<Program> {
    let mut top = Scope::default();
    for global in globals {
        let space = if global.constant { Space::Const } else { Space::Global };
        let name = text.variables.iter().find(|v| v.name == global.name).expect("placed from this list").name;
        top.names.insert(name, Name::Variable(Home { space, at: global.at, bytes: global.bytes }));
    }
    for variable in text.variables.iter().filter(|v| v.space == Space::Shared) {
        top.names.insert(variable.name, Name::Unplaced(variable.clone()));
    }
    for (param, placed) in function.params.iter().zip(params) {
        let home = Home { space: Space::Param, at: u64::from(placed.offset), bytes: u64::from(placed.bytes) };
        top.names.insert(param.name, Name::Variable(home));
    }
    let mut builder = Builder {
        file,
        functions: functions(text),
        name: file.into(),
        sources: text.sources.iter().map(|&(n, path)| (n, base_name(path).into())).collect(),
        scopes: vec![top],
        calls: Vec::new(),
        calls_made: 0,
        labels: Vec::new(),
        line: function.line,
        source: None,
        lines: Vec::new(),
        opcodes: HashMap::new(),
        word_constants: HashMap::new(),
        double_constants: HashMap::new(),
        specials: HashMap::new(),
        program: Program {
            code: Vec::new(),
            classes: Vec::new(),
            lines: Arc::new([]),
            words: 0,
            doubles: 0,
            preds: 0,
            word_constants: Vec::new(),
            double_constants: Vec::new(),
            specials: Vec::new(),
            watched: Vec::new(),
            tables: Vec::new(),
            shared: Vec::new(),
            static_shared: 0,
            dynamic_at: 0,
            local: Vec::new(),
            local_bytes: LOCAL_GAP,
            shared_granule: 4,
            global_granule: 4,
        },
        shared_next: SHARED_BASE,
        dynamic: Vec::new(),
    };
    builder.block(&function.body)?;
    builder.finish()
}

/// Where a variable lives: an address of its space.
#[derive(Debug, Clone, Copy)]
struct Home {
    space: Space,
    at: u64,
    bytes: u64,
}

#[derive(Debug, Clone)]
enum Name<'t> {
    Register(Type, Slot),
    Variable(Home),
    /// Shared memory gets its place at its first use: kernels of a file do not pay for each other's.
    Unplaced(Variable<'t>),
    Label(usize),
    Targets(Vec<&'t str>),
}

#[derive(Debug, Default)]
struct Scope<'t> {
    names: HashMap<&'t str, Name<'t>>,
    /// `.reg .f32 %f<3>`
    prefixes: Vec<(&'t str, Type, u32)>,
}

/// A call being inlined.
struct Call<'t> {
    name: &'t str,
    /// Where `ret` goes.
    end: usize,
}

struct Builder<'t, 'b> {
    file: &'b str,
    functions: HashMap<&'t str, &'b Function<'t>>,
    name: Arc<str>,
    /// Source files by the numbers of `.loc`.
    sources: Vec<(u64, Arc<str>)>,
    scopes: Vec<Scope<'t>>,
    calls: Vec<Call<'t>>,
    calls_made: usize,
    /// The pc of each label, once known.
    labels: Vec<Option<u32>>,
    line: u32,
    source: Option<(Arc<str>, u32)>,
    lines: Vec<Line>,
    opcodes: HashMap<&'t str, Arc<str>>,
    word_constants: HashMap<u32, Slot>,
    double_constants: HashMap<u64, Slot>,
    specials: HashMap<Special, Slot>,
    program: Program,
    shared_next: u32,
    /// Constant slots that hold the address of dynamic shared memory, for patching: it comes after all else.
    dynamic: Vec<(Slot, bool, u64)>,
}

impl<'t> Builder<'t, '_> {
    fn fail<T>(&self, message: impl Into<String>) -> Lowered<T> {
        Err(ParseError { file: self.file.into(), line: self.line, message: message.into() })
    }

    fn block(&mut self, statements: &[Statement<'t>]) -> Lowered<()> {
        let mut scope = Scope::default();
        for statement in statements {
            match statement {
                Statement::Label(name) => {
                    self.labels.push(None);
                    if scope.names.insert(name, Name::Label(self.labels.len() - 1)).is_some() {
                        return self.fail(format!("`{name}` is there twice"));
                    }
                }
                Statement::Targets { name, labels } => {
                    scope.names.insert(name, Name::Targets(labels.clone()));
                }
                _ => {}
            }
        }
        self.scopes.push(scope);
        for statement in statements {
            self.statement(statement)?;
        }
        self.scopes.pop();
        Ok(())
    }

    fn statement(&mut self, statement: &Statement<'t>) -> Lowered<()> {
        match statement {
            Statement::Label(name) => {
                let Some(Name::Label(label)) = self.lookup(name) else { return self.fail("label lost") };
                self.labels[label] = Some(self.program.code.len() as u32);
            }
            Statement::Targets { .. } => {}
            Statement::Registers { ty, name, count: Some(count) } => {
                self.scope().prefixes.push((name, *ty, *count));
            }
            Statement::Registers { ty, name, count: None } => {
                let slot = self.new_slot(ty.file());
                self.scope().names.insert(name, Name::Register(*ty, slot));
            }
            Statement::Variable(variable) => self.declare(variable)?,
            Statement::Source(file, line) => {
                let name = self.sources.iter().find(|(number, _)| number == file);
                // Line 0 marks code without a source line.
                self.source = if *line == 0 { None } else { name.map(|(_, name)| (name.clone(), *line)) };
            }
            Statement::Block(statements) => self.block(statements)?,
            Statement::Instruction(instruction) => {
                self.line = instruction.line;
                self.instruction(instruction)?;
            }
        }
        Ok(())
    }

    fn scope(&mut self) -> &mut Scope<'t> {
        self.scopes.last_mut().expect("a function has a scope")
    }

    fn declare(&mut self, variable: &Variable<'t>) -> Lowered<()> {
        let name = match variable.space {
            Space::Shared => Name::Unplaced(variable.clone()),
            Space::Local | Space::Param => {
                let at = self.program.local_bytes.next_multiple_of(variable.align.max(LOCAL_GAP));
                let bytes = variable.bytes as u32;
                if u64::from(at) + variable.bytes > MOST_LOCAL {
                    return self.fail(format!(
                        "`{}` makes local memory larger than {MOST_LOCAL} bytes",
                        variable.name
                    ));
                }
                self.program.local_bytes = (at + bytes + LOCAL_GAP).next_multiple_of(LOCAL_GAP);
                self.program.local.push(Placed { name: variable.name.into(), at, bytes });
                Name::Variable(Home { space: Space::Local, at: u64::from(at), bytes: variable.bytes })
            }
            space => return self.fail(format!("a .{space} variable inside a function is not supported")),
        };
        self.scope().names.insert(variable.name, name);
        Ok(())
    }

    fn new_slot(&mut self, file: File) -> Slot {
        let count = match file {
            File::Pred => &mut self.program.preds,
            File::Word => &mut self.program.words,
            File::Double => &mut self.program.doubles,
        };
        *count += 1;
        *count - 1
    }

    /// Finds a name from the innermost scope out; registers of a counted declaration get their slot here.
    fn lookup(&mut self, name: &'t str) -> Option<Name<'t>> {
        for at in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[at];
            if let Some(found) = scope.names.get(name) {
                if let Name::Unplaced(variable) = found {
                    let variable = variable.clone();
                    let home = self.place_shared(&variable);
                    self.scopes[at].names.insert(name, Name::Variable(home));
                    return Some(Name::Variable(home));
                }
                return Some(found.clone());
            }
            let declared = scope.prefixes.iter().find(|(prefix, _, count)| {
                name.strip_prefix(prefix).is_some_and(|digits| {
                    digits.parse::<u32>().is_ok_and(|n| n < *count)
                        && (digits == "0" || !digits.starts_with(['0', '+']))
                })
            });
            if let Some(&(_, ty, _)) = declared {
                let slot = self.new_slot(ty.file());
                let register = Name::Register(ty, slot);
                self.scopes[at].names.insert(name, register.clone());
                return Some(register);
            }
        }
        None
    }

    fn place_shared(&mut self, variable: &Variable<'t>) -> Home {
        let name = variable.name.to_string();
        if variable.bytes == 0 {
            // Placed after everything else; `DYNAMIC` marks it until then.
            self.program.shared.push(Placed { name, at: 0, bytes: 0 });
            return Home { space: Space::Shared, at: DYNAMIC, bytes: 0 };
        }
        let at = self.shared_next.next_multiple_of(variable.align.max(SHARED_GAP));
        let bytes = variable.bytes as u32;
        self.shared_next = at + bytes + SHARED_GAP;
        let real = self.program.static_shared.next_multiple_of(variable.align);
        self.program.static_shared = real + bytes;
        self.program.shared.push(Placed { name, at, bytes });
        Home { space: Space::Shared, at: u64::from(at), bytes: variable.bytes }
    }

    fn constant(&mut self, file: File, bits: u64) -> Slot {
        if let File::Double = file {
            if let Some(&slot) = self.double_constants.get(&bits) {
                return slot;
            }
            let slot = self.new_slot(File::Double);
            self.double_constants.insert(bits, slot);
            self.program.double_constants.push((slot, bits));
            return slot;
        }
        if let Some(&slot) = self.word_constants.get(&(bits as u32)) {
            return slot;
        }
        let slot = self.new_slot(File::Word);
        self.word_constants.insert(bits as u32, slot);
        self.program.word_constants.push((slot, bits as u32));
        slot
    }

    /// A slot with a variable's address; dynamic shared memory is patched at the end.
    fn address_constant(&mut self, file: File, home: Home, offset: i64) -> Slot {
        if home.at == DYNAMIC {
            let slot = self.new_slot(file);
            self.dynamic.push((slot, file == File::Double, offset as u64));
            return slot;
        }
        self.constant(file, home.at.wrapping_add(offset as u64))
    }

    fn register(&mut self, name: &'t str) -> Lowered<(Type, Slot)> {
        match self.lookup(name) {
            Some(Name::Register(ty, slot)) => Ok((ty, slot)),
            Some(_) => self.fail(format!("`{name}` is no register")),
            None => self.fail(format!("`{name}` is not declared")),
        }
    }

    fn width_error<T>(&self, name: &str, has: Type, wanted: Type) -> Lowered<T> {
        self.fail(format!("`{name}` is {} bits wide, {} are needed", has.bits(), wanted.bits()))
    }

    /// A source operand of exactly this width (narrow types share the 32-bit file, widths must still agree).
    fn src(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<Slot> {
        let (has, slot) = self.src_any(operand, ty)?;
        match (operand, has.bits() == ty.bits()) {
            (Operand::Name(name, _), false) => self.width_error(name, has, ty),
            _ => Ok(slot),
        }
    }

    /// A source operand in a register of any width, and the register's type; constants are made for `ty`.
    fn src_any(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<(Type, Slot)> {
        let mask = if ty.bits() == 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
        let bits = match operand {
            Operand::Name(name, offset) => {
                if let Some((has, slot)) = self.special(name)? {
                    return Ok((has, slot));
                }
                return match self.lookup(name) {
                    Some(Name::Register(has, slot)) if *offset == 0 => Ok((has, slot)),
                    Some(Name::Variable(home)) if ty.bits() >= 32 => {
                        Ok((ty, self.address_constant(ty.file(), home, *offset)))
                    }
                    Some(_) => self.fail(format!("`{name}` cannot be an operand here")),
                    None => self.fail(format!("`{name}` is not declared")),
                };
            }
            Operand::Int(n) if ty != Type::Pred && (!ty.float() || *n == 0) => *n & mask,
            Operand::F32(bits) if ty.bits() == 32 => u64::from(*bits),
            Operand::F64(bits) if ty == Type::F32 => u64::from((f64::from_bits(*bits) as f32).to_bits()),
            Operand::F64(bits) if ty.bits() == 64 => *bits,
            _ => return self.fail(format!("{operand:?} cannot be an operand here")),
        };
        Ok((ty, self.constant(ty.file(), bits)))
    }

    /// A destination of exactly this width; `_` is a slot nobody reads.
    fn dst(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<Slot> {
        let (has, slot) = self.dst_any(operand, ty)?;
        match (operand, has.bits() == ty.bits()) {
            (Operand::Name(name, _), false) => self.width_error(name, has, ty),
            _ => Ok(slot),
        }
    }

    fn dst_any(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<(Type, Slot)> {
        match operand {
            Operand::Name("_", 0) => Ok((ty, self.new_slot(ty.file()))),
            Operand::Name(name, 0) => self.register(name),
            _ => self.fail("the destination must be a register"),
        }
    }

    /// A predicate, and whether it is negated.
    fn pred(&mut self, operand: &Operand<'t>) -> Lowered<(Slot, bool)> {
        match operand {
            Operand::Name(name, 0) => Ok((self.pred_named(name)?, false)),
            Operand::Not(name) => Ok((self.pred_named(name)?, true)),
            _ => self.fail("a predicate is needed here"),
        }
    }

    fn pred_named(&mut self, name: &'t str) -> Lowered<Slot> {
        let (ty, slot) = self.register(name)?;
        if ty == Type::Pred { Ok(slot) } else { self.fail(format!("`{name}` is no predicate")) }
    }

    /// The slot of a special register.
    fn special(&mut self, name: &str) -> Lowered<Option<(Type, Slot)>> {
        let axis = |c: &str| ["x", "y", "z"].iter().position(|a| *a == c).map(|a| a as u8);
        let special = match name.split_once('.') {
            Some(("%tid", a)) => axis(a).map(Special::Tid),
            Some(("%ntid", a)) => axis(a).map(Special::Ntid),
            Some(("%ctaid", a)) => axis(a).map(Special::Ctaid),
            Some(("%nctaid", a)) => axis(a).map(Special::Nctaid),
            _ => match name {
                "%laneid" => Some(Special::LaneId),
                "%warpid" => Some(Special::WarpId),
                "%nwarpid" => Some(Special::WarpCount),
                "%lanemask_eq" => Some(Special::LaneMaskEq),
                "%lanemask_lt" => Some(Special::LaneMaskLt),
                "%lanemask_le" => Some(Special::LaneMaskLe),
                "%lanemask_gt" => Some(Special::LaneMaskGt),
                "%lanemask_ge" => Some(Special::LaneMaskGe),
                "%smid" => Some(Special::SmId),
                "%nsmid" => Some(Special::SmCount),
                "%dynamic_smem_size" => Some(Special::DynamicShared),
                "%total_smem_size" => Some(Special::TotalShared),
                "WARP_SZ" => return Ok(Some((Type::U32, self.constant(File::Word, 32)))),
                _ => None,
            },
        };
        let Some(special) = special else { return Ok(None) };
        if let Some(&slot) = self.specials.get(&special) {
            return Ok(Some((Type::U32, slot)));
        }
        let slot = self.new_slot(File::Word);
        self.specials.insert(special, slot);
        self.program.specials.push((special, slot));
        Ok(Some((Type::U32, slot)))
    }

    fn label(&mut self, operand: &Operand<'t>) -> Lowered<u32> {
        let Operand::Name(name, 0) = operand else { return self.fail("a label is needed here") };
        match self.lookup(name) {
            Some(Name::Label(label)) => Ok(label as u32),
            _ => self.fail(format!("label `{name}` is not in reach")),
        }
    }

    fn emit(&mut self, instruction: &Instruction<'t>, class: Class, op: Op) -> Lowered<()> {
        let (guard, negated) = match instruction.guard {
            Some((name, negated)) => (self.pred_named(name)?, negated),
            None => (Slot::MAX, false),
        };
        if self.program.code.len() >= MOST_INSTRUCTIONS {
            return self.fail("the kernel is too long with its calls inlined");
        }
        let opcode =
            self.opcodes.entry(instruction.opcode).or_insert_with(|| instruction.opcode.into()).clone();
        self.program.code.push(Inst { op, guard, negated, suspect: false, tracks: false });
        self.program.classes.push(class);
        self.lines.push(Line {
            file: self.name.clone(),
            line: instruction.line,
            source: self.source.clone(),
            opcode,
        });
        Ok(())
    }

    /// Labels to counters, dynamic shared memory to its place, and which registers need watching.
    fn finish(mut self) -> Lowered<Program> {
        let last = self.lines.last().map_or(self.line, |l| l.line);
        let end = Instruction { guard: None, opcode: "ret", operands: Vec::new(), line: last };
        self.emit(&end, Class::Control, Op::Exit)?;
        let labels: Vec<u32> = self.labels.iter().map(|l| l.expect("every label has a statement")).collect();
        for inst in &mut self.program.code {
            if let Op::Branch { target } = &mut inst.op {
                *target = labels[*target as usize];
            }
        }
        for target in self.program.tables.iter_mut().flatten() {
            *target = labels[*target as usize];
        }
        let dynamic_at = self.shared_next.next_multiple_of(1024);
        self.program.dynamic_at = dynamic_at;
        for placed in self.program.shared.iter_mut().filter(|p| p.bytes == 0) {
            placed.at = dynamic_at;
        }
        for (slot, double, offset) in self.dynamic {
            let at = u64::from(dynamic_at).wrapping_add(offset);
            if double {
                self.program.double_constants.push((slot, at));
            } else {
                self.program.word_constants.push((slot, at as u32));
            }
        }
        self.program.lines = self.lines.into();
        flow::mark_suspects(&mut self.program);
        Ok(self.program)
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Address of dynamic shared memory before its place is known.
const DYNAMIC: u64 = u64::MAX;
