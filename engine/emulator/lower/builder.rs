//! The builder of a program: names, slots, constants, operands and the instructions so far.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::FrameBuilder;
use super::names::{Callee, FileNames, Home, Name, Scope};
use crate::fault::ParseError;
use crate::flow;
use crate::isa::{Int2, NO_SLOT, Op, Slot};
use crate::meter::{Class, Line};
use crate::program::{Inst, LOCAL_GAP, Placed, Program, SHARED_BASE, SHARED_GAP, Special, function_address};
use crate::steps::{Steps, TooMany};
use crate::syntax::{Guard, Instruction, Operand, Variable};
use crate::types::{RegisterFile, Space, Type};

/// The result of lowering a part of a kernel.
pub(super) type Lowered<T> = Result<T, ParseError>;

/// The most bytes of local memory that a thread may have: every lane of a worker's block has its own.
const MOST_LOCAL: u64 = 64 << 10;
/// The most bytes of shared memory that a kernel may have, with the gaps between its variables. A launch allows less.
const MOST_SHARED: u64 = 1 << 22;
/// The most registers of a kernel, constants included: every lane of a worker's block has its own.
const MOST_REGISTERS: u32 = 1 << 16;
/// The steps of one instruction, by which its [`Inst`] and its [`Line`] count.
const INSTRUCTION_STEPS: usize = 8;
/// The address of dynamic shared memory before it is known.
const DYNAMIC: u64 = u64::MAX;
/// The alignment of dynamic shared memory in bytes.
const DYNAMIC_ALIGN: u32 = 1024;

/// A call that is being inlined.
pub(super) struct InlinedCall {
    /// The label to which `ret` jumps.
    pub end: usize,
}

/// A constant slot that holds the address of dynamic shared memory. It is filled in at the end, because dynamic memory
/// comes after all other.
struct DynamicSlot {
    slot: Slot,
    file: RegisterFile,
    offset: u64,
}

/// A kernel that is being lowered.
pub(super) struct Builder<'t, 'b> {
    pub file: &'b FileNames<'t, 'b>,
    steps: &'b mut Steps,
    /// The file has taken all its steps.
    over_limit: bool,
    /// The scopes that are open, innermost last. The first has the module's shared variables that the kernel uses.
    pub scopes: Vec<Scope<'t, 'b>>,
    /// The calls that are being inlined, innermost last.
    pub calls: Vec<InlinedCall>,
    /// The number of blocks that are open, those of all calls included.
    pub depth: usize,
    /// The counter of each label, once it is known.
    pub labels: Vec<Option<u32>>,
    /// The line that errors name.
    pub line: u32,
    /// The source file and line that the last `.loc` named.
    pub source: Option<(Arc<str>, u32)>,
    lines: Vec<Line>,
    /// The registers that have names.
    pub names: Vec<(RegisterFile, Slot, &'t str)>,
    opcodes: HashMap<&'t str, Arc<str>>,
    word_constants: HashMap<u32, Slot>,
    double_constants: HashMap<u64, Slot>,
    specials: HashMap<Special, Slot>,
    pub program: Program,
    /// The opcode that is being lowered.
    pub opcode: &'t str,
    /// The frame of the function that is being compiled out of line; none in the kernel itself.
    pub frame: Option<FrameBuilder>,
    /// The numbers of the functions that are compiled out of line, by their numbers in the file.
    pub out_of_line: HashMap<u32, u32>,
    /// The same functions, in the order of their numbers.
    pub pending: Vec<Callee<'t, 'b>>,
    /// There are vector registers, or declarations of them.
    pub vectors: bool,
    pub counts_vectors: bool,
    /// The bytes of the next load that are used, where a pragma says so.
    pub used_bytes: Option<u32>,
    /// The first free offset of shared memory.
    shared_next: u32,
    dynamic: Vec<DynamicSlot>,
}

impl<'t, 'b> Builder<'t, 'b> {
    /// Starts to lower a kernel that begins in line `line`, with one scope that has no names yet.
    pub(super) fn new(file: &'b FileNames<'t, 'b>, line: u32, steps: &'b mut Steps) -> Self {
        Builder {
            file,
            steps,
            over_limit: false,
            scopes: vec![Scope::default()],
            calls: Vec::new(),
            depth: 0,
            labels: Vec::new(),
            line,
            source: None,
            lines: Vec::new(),
            names: Vec::new(),
            opcodes: HashMap::new(),
            word_constants: HashMap::new(),
            double_constants: HashMap::new(),
            specials: HashMap::new(),
            program: Program {
                local_bytes: LOCAL_GAP,
                shared_granule: 4,
                global_granule: 4,
                ..Program::default()
            },
            opcode: "",
            frame: None,
            out_of_line: HashMap::new(),
            pending: Vec::new(),
            vectors: false,
            counts_vectors: false,
            used_bytes: None,
            shared_next: SHARED_BASE,
            dynamic: Vec::new(),
        }
    }

    /// The innermost scope.
    pub(super) fn scope(&mut self) -> &mut Scope<'t, 'b> {
        self.scopes.last_mut().expect("a function has a scope")
    }

    /// Fails at the current line.
    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Lowered<T> {
        Err(ParseError { file: self.file.file.to_string(), line: self.line, message: message.into() })
    }

    /// Counts steps of the file before they are taken.
    pub(super) fn take(&mut self, steps: usize) -> Lowered<()> {
        self.steps.take(steps).or_else(|too_many| {
            self.over_limit = true;
            self.fail(too_many.to_string())
        })
    }

    /// Whether the last error concerns the whole file.
    pub(super) fn over_limit(&self) -> bool {
        self.over_limit
    }

    /// Checks that the registers of the kernel are not too many.
    pub(super) fn check_registers(&self) -> Lowered<()> {
        let Program { words, doubles, preds, .. } = self.program;
        if words + doubles + preds > MOST_REGISTERS {
            return self.fail(format!("the kernel has more than {MOST_REGISTERS} registers and constants"));
        }
        Ok(())
    }

    /// Declares a variable of a function. Parameters of calls lie in local memory.
    pub(super) fn declare(&mut self, variable: &'b Variable<'t>) -> Lowered<()> {
        let name = match variable.space {
            Space::Shared => Name::Unplaced(variable),
            Space::Local | Space::Param => {
                let align = variable.align.max(LOCAL_GAP);
                let (next, placed) = match &mut self.frame {
                    Some(frame) => {
                        frame.align = frame.align.max(align);
                        (&mut frame.next, &mut frame.placed)
                    }
                    None => (&mut self.program.local_bytes, &mut self.program.local),
                };
                let at = next.next_multiple_of(align);
                let bytes = variable.bytes as u32;
                if u64::from(at) + variable.bytes > MOST_LOCAL {
                    return self.fail(format!(
                        "`{}` makes local memory larger than {MOST_LOCAL} bytes",
                        variable.name
                    ));
                }
                *next = (at + bytes + LOCAL_GAP).next_multiple_of(LOCAL_GAP);
                placed.push(Placed { name: variable.name.into(), at, bytes });
                let in_frame = self.frame.is_some();
                Name::Variable(Home {
                    space: Space::Local,
                    at: u64::from(at),
                    bytes: variable.bytes,
                    in_frame,
                })
            }
            space => return self.fail(format!("a .{space} variable inside a function is not supported")),
        };
        self.scope().names.insert(variable.name, name);
        Ok(())
    }

    /// Adds a register to a file.
    pub(super) fn new_slot(&mut self, file: RegisterFile) -> Slot {
        let count = match file {
            RegisterFile::Pred => &mut self.program.preds,
            RegisterFile::Word => &mut self.program.words,
            RegisterFile::Double => &mut self.program.doubles,
        };
        *count += 1;
        *count - 1
    }

    /// Adds a register that has a name.
    pub(super) fn named_slot(&mut self, ty: Type, name: &'t str) -> Slot {
        let slot = self.new_slot(ty.file());
        self.names.push((ty.file(), slot, name));
        slot
    }

    /// The names of the watched registers, in their order.
    fn watched_names(&self) -> Vec<String> {
        let names: HashMap<_, _> =
            self.names.iter().map(|&(file, slot, name)| ((file, slot), name)).collect();
        let name = |register| names.get(register).copied().unwrap_or("a register").to_string();
        self.program.watched.iter().map(name).collect()
    }

    /// Finds a name from the innermost scope outwards. A register of a counted declaration gets its slot here, a shared
    /// variable its address.
    pub(super) fn lookup(&mut self, name: &'t str) -> Lowered<Option<Name<'t, 'b>>> {
        for at in (0..self.scopes.len()).rev() {
            self.take(1 + name.len() / 16)?;
            let scope = &self.scopes[at];
            let known = scope.names.get(name).or_else(|| self.file.variables.get(name).filter(|_| at == 0));
            if let Some(&known) = known {
                let variable = match known {
                    Name::Unplaced(variable) => variable,
                    Name::Refused(reason) => return Err(self.file.refused[reason].clone()),
                    _ => return Ok(Some(known)),
                };
                let placed = Name::Variable(self.place_shared(variable)?);
                self.scopes[at].names.insert(name, placed);
                return Ok(Some(placed));
            }
            if let Some(counted) = scope.counted(name) {
                let register = self.new_register(name, counted.ty, counted.elements);
                self.scopes[at].names.insert(name, register);
                return Ok(Some(register));
            }
        }
        self.element_named(name)
    }

    /// Gives a shared variable its address.
    fn place_shared(&mut self, variable: &Variable<'t>) -> Lowered<Home> {
        let name = variable.name.to_string();
        if variable.bytes == 0 {
            // Its address is known when all other variables have theirs.
            self.program.shared.push(Placed { name, at: 0, bytes: 0 });
            return Ok(Home { space: Space::Shared, at: DYNAMIC, bytes: 0, in_frame: false });
        }
        let at = self.shared_next.next_multiple_of(variable.align.max(SHARED_GAP));
        if u64::from(at) + variable.bytes > MOST_SHARED {
            return self.fail(format!("`{name}` makes shared memory larger than {MOST_SHARED} bytes"));
        }
        let bytes = variable.bytes as u32;
        self.shared_next = at + bytes + SHARED_GAP;
        let real = self.program.static_shared.next_multiple_of(variable.align);
        self.program.static_shared = real + bytes;
        self.program.shared.push(Placed { name, at, bytes });
        Ok(Home { space: Space::Shared, at: u64::from(at), bytes: variable.bytes, in_frame: false })
    }

    /// The slot of a constant.
    pub(super) fn constant(&mut self, file: RegisterFile, bits: u64) -> Slot {
        if let RegisterFile::Double = file {
            if let Some(&slot) = self.double_constants.get(&bits) {
                return slot;
            }
            let slot = self.new_slot(RegisterFile::Double);
            self.double_constants.insert(bits, slot);
            self.program.double_constants.push((slot, bits));
            return slot;
        }
        if let Some(&slot) = self.word_constants.get(&(bits as u32)) {
            return slot;
        }
        let slot = self.new_slot(RegisterFile::Word);
        self.word_constants.insert(bits as u32, slot);
        self.program.word_constants.push((slot, bits as u32));
        slot
    }

    /// The slot of a variable's address plus `offset`.
    pub(super) fn address_constant(&mut self, file: RegisterFile, home: Home, offset: i64) -> Lowered<Slot> {
        if home.at == DYNAMIC {
            let slot = self.new_slot(file);
            self.dynamic.push(DynamicSlot { slot, file, offset: offset as u64 });
            return Ok(slot);
        }
        let at = home.at.wrapping_add(offset as u64);
        if !home.in_frame {
            return Ok(self.constant(file, at));
        }
        let (a, b) = (self.frame_pointer(), self.constant(RegisterFile::Double, at));
        let d = self.new_slot(RegisterFile::Double);
        self.emit_part(Class::Integer, Op::Int { f: Int2::Add, ty: Type::U64, d, a, b })?;
        if file == RegisterFile::Double {
            return Ok(d);
        }
        let (low, high) = (self.new_slot(RegisterFile::Word), self.new_slot(RegisterFile::Word));
        self.emit_part(Class::Move, Op::Unpack64 { low, high, a: d })?;
        Ok(low)
    }

    /// The type and the slot of a register.
    fn register(&mut self, name: &'t str) -> Lowered<(Type, Slot)> {
        match self.lookup(name)? {
            Some(Name::Register(ty, slot)) => Ok((ty, slot)),
            Some(_) => self.fail(format!("`{name}` is not a register")),
            None => self.fail(format!("`{name}` is not declared")),
        }
    }

    /// The slot of an operand, whose register must be as wide as `ty`.
    fn exact(&self, operand: &Operand<'t>, (has, slot): (Type, Slot), ty: Type) -> Lowered<Slot> {
        match operand {
            Operand::Name(name, _) | Operand::Part(name, _) if has.bits() != ty.bits() => {
                self.fail(format!("`{name}` is {} bits wide, {} are needed", has.bits(), ty.bits()))
            }
            _ => Ok(slot),
        }
    }

    /// A source operand of exactly this width. Types of 8 to 32 bits share a register file, but widths must agree.
    pub(super) fn src(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<Slot> {
        let register = self.src_any(operand, ty)?;
        self.exact(operand, register, ty)
    }

    /// A source operand in a register of any width, and the type of that register; constants have the type `ty`.
    pub(super) fn src_any(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<(Type, Slot)> {
        let mask = if ty.bits() == 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
        let bits = match operand {
            Operand::Name(name, offset) => {
                if let Some((has, slot)) = self.special(name)? {
                    return Ok((has, slot));
                }
                return match self.lookup(name)? {
                    Some(Name::Register(has, slot)) if *offset == 0 => Ok((has, slot)),
                    Some(Name::Variable(home)) if ty.bits() >= 32 => {
                        Ok((ty, self.address_constant(ty.file(), home, *offset)?))
                    }
                    Some(_) => self.fail(format!("`{name}` cannot be an operand here")),
                    None => match self.file.functions.get(name) {
                        Some(callee) if *offset == 0 && ty.bits() == 64 => {
                            Ok((ty, self.constant(ty.file(), function_address(callee.number))))
                        }
                        _ => self.fail(format!("`{name}` is not declared")),
                    },
                };
            }
            Operand::Part(name, part) => return self.part(name, *part),
            Operand::Int(n) if ty != Type::Pred && (!ty.float() || *n == 0) => *n & mask,
            Operand::F32(bits) if ty.bits() == 32 => u64::from(*bits),
            Operand::F64(bits) if ty == Type::F32 => u64::from((f64::from_bits(*bits) as f32).to_bits()),
            Operand::F64(bits) if ty.bits() == 64 => *bits,
            _ => return self.fail(format!("{operand} cannot be an operand here")),
        };
        Ok((ty, self.constant(ty.file(), bits)))
    }

    /// A destination of exactly this width; `_` is a slot that nobody reads.
    pub(super) fn dst(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<Slot> {
        let register = self.dst_any(operand, ty)?;
        self.exact(operand, register, ty)
    }

    /// A destination register of any width, and its type.
    pub(super) fn dst_any(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<(Type, Slot)> {
        match operand {
            Operand::Name("_", 0) => Ok((ty, self.new_slot(ty.file()))),
            Operand::Name(name, 0) => self.register(name),
            Operand::Part(name, part) => self.part(name, *part),
            _ => self.fail("the destination must be a register"),
        }
    }

    /// A predicate, and whether it is negated.
    pub(super) fn pred(&mut self, operand: &Operand<'t>) -> Lowered<(Slot, bool)> {
        match operand {
            Operand::Name(name, 0) => Ok((self.pred_named(name)?, false)),
            Operand::Not(name) => Ok((self.pred_named(name)?, true)),
            _ => self.fail("a predicate is needed here"),
        }
    }

    /// The slot of a predicate register.
    pub(super) fn pred_named(&mut self, name: &'t str) -> Lowered<Slot> {
        let (ty, slot) = self.register(name)?;
        if ty == Type::Pred { Ok(slot) } else { self.fail(format!("`{name}` is not a predicate")) }
    }

    /// The slot of a special register; `None` for other names.
    pub(super) fn special(&mut self, name: &str) -> Lowered<Option<(Type, Slot)>> {
        let axis = |c: &str| ["x", "y", "z"].iter().position(|a| *a == c).map(|a| a as u8);
        let special = match name.split_once('.') {
            Some(("%tid", a)) => axis(a).map(Special::Tid),
            Some(("%ntid", a)) => axis(a).map(Special::Ntid),
            Some(("%ctaid", a)) => axis(a).map(Special::Ctaid),
            Some(("%nctaid", a)) => axis(a).map(Special::Nctaid),
            // A cluster has one block.
            Some(("%clusterid", a)) => axis(a).map(Special::Ctaid),
            Some(("%nclusterid", a)) => axis(a).map(Special::Nctaid),
            Some(("%cluster_ctaid", a)) if axis(a).is_some() => {
                return Ok(Some((Type::U32, self.constant(RegisterFile::Word, 0))));
            }
            Some(("%cluster_nctaid", a)) if axis(a).is_some() => {
                return Ok(Some((Type::U32, self.constant(RegisterFile::Word, 1))));
            }
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
                "%cluster_ctarank" => return Ok(Some((Type::U32, self.constant(RegisterFile::Word, 0)))),
                // Addresses of what the driver reserves: there is nothing to be read or written.
                "%reserved_smem_offset_begin" | "%reserved_smem_offset_0" | "%reserved_smem_offset_1" => {
                    return Ok(Some((Type::U32, self.constant(RegisterFile::Word, 0))));
                }
                "%reserved_smem_offset_end" | "%reserved_smem_offset_cap" => {
                    return Ok(Some((Type::U32, self.constant(RegisterFile::Word, u64::from(SHARED_BASE)))));
                }
                "%cluster_nctarank" => return Ok(Some((Type::U32, self.constant(RegisterFile::Word, 1)))),
                "WARP_SZ" => return Ok(Some((Type::U32, self.constant(RegisterFile::Word, 32)))),
                "%gridid" => Some(Special::GridId),
                _ => name
                    .strip_prefix("%envreg")
                    .and_then(|n| n.parse().ok().filter(|&n| n < 32 && name.len() < 10))
                    .map(Special::EnvReg),
            },
        };
        let Some(special) = special else { return Ok(None) };
        if let Some(&slot) = self.specials.get(&special) {
            return Ok(Some((Type::U32, slot)));
        }
        let slot = self.new_slot(RegisterFile::Word);
        self.specials.insert(special, slot);
        self.program.specials.push((special, slot));
        Ok(Some((Type::U32, slot)))
    }

    /// The number of a label, which stands for its counter until the end.
    pub(super) fn label(&mut self, operand: &Operand<'t>) -> Lowered<u32> {
        let Operand::Name(name, 0) = operand else { return self.fail("a label is needed here") };
        match self.lookup(name)? {
            Some(Name::Label(label)) => Ok(label as u32),
            _ => self.fail(format!("label `{name}` cannot be reached from here")),
        }
    }

    /// Adds an instruction to the program.
    pub(super) fn emit(&mut self, instruction: &Instruction<'t>, class: Class, op: Op) -> Lowered<()> {
        let (guard, negated) = match instruction.guard {
            Some(Guard { name, negated }) => (self.pred_named(name)?, negated),
            None => (NO_SLOT, false),
        };
        self.take(INSTRUCTION_STEPS)?;
        let opcode =
            self.opcodes.entry(instruction.opcode).or_insert_with(|| instruction.opcode.into()).clone();
        self.program.code.push(Inst { op, guard, negated, suspect: false, tracks: false });
        self.program.classes.push(class);
        self.lines.push(Line {
            file: self.file.file.clone(),
            line: instruction.line,
            source: self.source.clone(),
            opcode,
        });
        Ok(())
    }

    /// Adds a part of the instruction that is being lowered, without its guard.
    pub(super) fn emit_part(&mut self, class: Class, op: Op) -> Lowered<()> {
        let part = Instruction { guard: None, opcode: self.opcode, operands: Vec::new(), line: self.line };
        self.emit(&part, class, op)
    }

    /// Ends the program: labels become counters, dynamic shared memory gets its address, and the registers that need
    /// watching are marked. `line` is the one in which the kernel begins.
    pub(super) fn finish(&mut self, line: u32) -> Lowered<Program> {
        let labels: Vec<u32> = self.labels.iter().map(|l| l.expect("every label has a statement")).collect();
        for inst in &mut self.program.code {
            if let Op::Branch { target } = &mut inst.op {
                *target = labels[*target as usize];
            }
        }
        for target in self.program.tables.iter_mut().flatten() {
            *target = labels[*target as usize];
        }
        let dynamic_at = self.shared_next.next_multiple_of(DYNAMIC_ALIGN);
        self.program.dynamic_at = dynamic_at;
        for placed in self.program.shared.iter_mut().filter(|p| p.bytes == 0) {
            placed.at = dynamic_at;
        }
        for &DynamicSlot { slot, file, offset } in &self.dynamic {
            let at = u64::from(dynamic_at).wrapping_add(offset);
            if file == RegisterFile::Double {
                self.program.double_constants.push((slot, at));
            } else {
                self.program.word_constants.push((slot, at as u32));
            }
        }
        self.program.lines = std::mem::take(&mut self.lines).into();
        self.line = line;
        flow::drop_unused_results(&mut self.program);
        match flow::mark_suspects(&mut self.program, self.steps) {
            Ok(()) => {
                self.program.watched_names = self.watched_names();
                Ok(std::mem::take(&mut self.program))
            }
            Err(TooMany) => {
                self.over_limit = true;
                self.fail(TooMany.to_string())
            }
        }
    }
}
