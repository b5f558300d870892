//! Opcode dispatch, and what moves control or joins threads: branches, calls, barriers, shuffles, votes.

use super::modifiers::Mods;
use super::{Builder, Call, DEEPEST_CALL, Lowered, MOST_CALLS, Name, Scope};
use crate::isa::{Atomic, BarrierReduce, Op, ShuffleMode, Slot, VoteMode};
use crate::meter::Class;
use crate::syntax::{Instruction, Operand};
use crate::types::Type;

impl<'t> Builder<'t, '_> {
    pub(super) fn instruction(&mut self, i: &Instruction<'t>) -> Lowered<()> {
        let mut mods = Mods::new(i.opcode);
        let m = &mut mods;
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
                self.emit(i, Class::Other, Op::Nop)
            }
            "bra" => self.branch(i, m),
            "brx" => self.branch_table(i, m),
            "call" => self.call(i, m),
            "ret" => self.ret(i, m),
            "exit" => self.emit(i, Class::Control, Op::Exit),
            "trap" => self.emit(i, Class::Control, Op::Trap),
            "bar" | "barrier" => self.barrier(i, m),
            "membar" | "fence" => self.emit(i, Class::Fence, Op::Fence),
            "shfl" => self.shuffle(i, m),
            "vote" => self.vote(i, m),
            "match" => self.matching(i, m),
            "redux" => self.redux(i, m),
            "activemask" => {
                let [d] = self.operands(i)?;
                let d = self.dst(d, Type::B32)?;
                self.emit(i, Class::Vote, Op::ActiveMask { d })
            }
            _ => self.unsupported(i),
        }
    }

    /// Opcodes that whole numbers and floats share.
    fn typed(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let last = i.opcode.rsplit('.').next().and_then(Type::parse);
        match (m.name, last) {
            ("setp" | "set", _) => self.compare(i, m),
            ("selp", _) => self.select(i, m),
            (_, Some(ty)) if ty.float() => self.float(i, m),
            (_, Some(_)) => self.integer(i, m),
            _ => self.unsupported(i),
        }
    }

    fn branch(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        m.takes("uni");
        self.done(i, m)?;
        let [target] = self.operands(i)?;
        let target = self.label(target)?;
        self.emit(i, Class::Control, Op::Branch { target })
    }

    fn branch_table(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        if !m.takes("idx") {
            return self.unsupported(i);
        }
        m.takes("uni");
        self.done(i, m)?;
        let [index, table] = self.operands(i)?;
        let a = self.src(index, Type::U32)?;
        let labels = match table {
            Operand::Name(name, 0) => match self.lookup(name) {
                Some(Name::Targets(labels)) => labels,
                _ => return self.fail(format!("`{name}` is no list of branch targets")),
            },
            _ => return self.fail("a list of branch targets is needed here"),
        };
        let targets =
            labels.into_iter().map(|l| self.label(&Operand::Name(l, 0))).collect::<Lowered<Vec<_>>>()?;
        self.program.tables.push(targets);
        let table = self.program.tables.len() as u32 - 1;
        self.emit(i, Class::Control, Op::BranchTable { table, a })
    }

    fn ret(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        m.takes("uni");
        self.done(i, m)?;
        let op = match self.calls.last() {
            Some(call) => Op::Branch { target: call.end as u32 },
            None => Op::Exit,
        };
        self.emit(i, Class::Control, op)
    }

    /// `call.uni (retval0), name, (param0, param1);` becomes the body of the function.
    fn call(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
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
        let Some(function) = self.functions.get(name).copied() else {
            return self.fail(format!("call of `{name}`, which this file does not define"));
        };
        if self.calls.len() >= DEEPEST_CALL || self.calls.iter().any(|c| c.name == name) {
            return self.fail(format!("`{name}` calls itself, or calls nest too deep"));
        }
        if args.len() != function.params.len() || returns.len() != function.returns.len() {
            return self.fail(format!("`{name}` called with another number of parameters than it has"));
        }
        self.calls_made += 1;
        if self.calls_made > MOST_CALLS {
            return self.fail(format!("more than {MOST_CALLS} calls, nested ones counted each time"));
        }
        let mut scope = Scope::default();
        let formals = function.params.iter().chain(&function.returns);
        for (formal, actual) in formals.zip(args.iter().chain(returns)) {
            let home = match actual {
                Operand::Name(n, 0) => self.lookup(n),
                _ => None,
            };
            let Some(Name::Variable(home)) = home else {
                return self.fail("call parameters must be .param variables");
            };
            if home.bytes != formal.bytes {
                return self.fail(format!(
                    "parameter `{}` has {} bytes, {} given",
                    formal.name, formal.bytes, home.bytes
                ));
            }
            scope.names.insert(formal.name, Name::Variable(home));
        }
        self.labels.push(None);
        let end = self.labels.len() - 1;
        self.calls.push(Call { name, end });
        // The function sees the module and its parameters, nothing of its caller.
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

    fn barrier(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        m.takes("cta");
        if m.takes("warp") {
            m.takes("sync");
            self.done(i, m)?;
            let [mask] = self.operands(i)?;
            let mask = self.src(mask, Type::B32)?;
            return self.emit(i, Class::Barrier, Op::WarpBarrier { mask });
        }
        m.takes("aligned");
        if m.takes("red") {
            m.takes("aligned");
            return self.barrier_reduce(i, m);
        }
        let wait = if m.takes("sync") {
            true
        } else if m.takes("arrive") {
            false
        } else {
            return self.unsupported(i);
        };
        m.takes("aligned");
        self.done(i, m)?;
        let (id, count) = match i.operands.as_slice() {
            [id] => (id, None),
            [id, count] => (id, Some(count)),
            _ => return self.fail("a barrier takes its number and perhaps a count of threads"),
        };
        if !wait && count.is_none() {
            return self.fail("bar.arrive needs a count of threads");
        }
        let id = self.src(id, Type::U32)?;
        let count = count.map(|c| self.src(c, Type::U32)).transpose()?;
        self.emit(i, Class::Barrier, Op::Barrier { id, count, wait })
    }

    /// `bar.red.popc.u32 d, id, {count,} p`
    fn barrier_reduce(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let f = m.find(|p| match p {
            "popc" => Some(BarrierReduce::Popc),
            "and" => Some(BarrierReduce::And),
            "or" => Some(BarrierReduce::Or),
            _ => None,
        });
        let Some(f) = f else { return self.unsupported(i) };
        m.takes("aligned");
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if (f == BarrierReduce::Popc) != (ty == Type::U32) || (f != BarrierReduce::Popc) != (ty == Type::Pred)
        {
            return self.unsupported(i);
        }
        let (d, id, count, p) = match i.operands.as_slice() {
            [d, id, p] => (d, id, None, p),
            [d, id, count, p] => (d, id, Some(count), p),
            _ => return self.fail("bar.red takes a destination, a number, perhaps a count, and a predicate"),
        };
        let id = self.src(id, Type::U32)?;
        let count = count.map(|c| self.src(c, Type::U32)).transpose()?;
        let (p, negated) = self.pred(p)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Barrier, Op::BarrierReduce { f, id, count, d, p, negated })
    }

    /// A register and perhaps a predicate: `%r|%p`.
    fn pair(&mut self, operand: &Operand<'t>, ty: Type) -> Lowered<(Slot, Option<Slot>)> {
        match operand {
            Operand::Pair(d, p) => {
                let p = if *p == "_" { None } else { Some(self.pred_named(p)?) };
                Ok((self.dst(&Operand::Name(d, 0), ty)?, p))
            }
            _ => Ok((self.dst(operand, ty)?, None)),
        }
    }

    fn shuffle(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let mode = m.find(|p| {
            Some(match p {
                "up" => ShuffleMode::Up,
                "down" => ShuffleMode::Down,
                "bfly" => ShuffleMode::Bfly,
                "idx" => ShuffleMode::Idx,
                _ => return None,
            })
        });
        let (Some(mode), true, true) = (mode, m.takes("sync"), m.takes("b32")) else {
            return self.unsupported(i);
        };
        self.done(i, m)?;
        let [d, a, lane, clamp, mask] = self.operands(i)?;
        let a = self.src(a, Type::B32)?;
        let lane = self.src(lane, Type::B32)?;
        let clamp = self.src(clamp, Type::B32)?;
        let mask = self.src(mask, Type::B32)?;
        let (d, p) = self.pair(d, Type::B32)?;
        self.emit(i, Class::Shuffle, Op::Shuffle { mode, d, p, a, lane, clamp, mask })
    }

    fn vote(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let f = m.find(|p| {
            Some(match p {
                "all" => VoteMode::All,
                "any" => VoteMode::Any,
                "uni" => VoteMode::Uni,
                "ballot" => VoteMode::Ballot,
                _ => return None,
            })
        });
        let (Some(f), true) = (f, m.takes("sync")) else { return self.unsupported(i) };
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if ty != (if f == VoteMode::Ballot { Type::B32 } else { Type::Pred }) {
            return self.unsupported(i);
        }
        let [d, p, mask] = self.operands(i)?;
        let (p, negated) = self.pred(p)?;
        let mask = self.src(mask, Type::B32)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Vote, Op::Vote { f, d, p, negated, mask })
    }

    fn matching(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let all = m.takes("all");
        if !(all || m.takes("any")) || !m.takes("sync") {
            return self.unsupported(i);
        }
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if !matches!(ty, Type::B32 | Type::B64) {
            return self.unsupported(i);
        }
        let [d, a, mask] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let mask = self.src(mask, Type::B32)?;
        let (d, p) = self.pair(d, Type::B32)?;
        self.emit(i, Class::Vote, Op::Match { all, ty, d, p, a, mask })
    }

    fn redux(&mut self, i: &Instruction<'t>, m: &mut Mods<'t>) -> Lowered<()> {
        let f = m.find(|p| {
            Some(match p {
                "add" => Atomic::Add,
                "min" => Atomic::Min,
                "max" => Atomic::Max,
                "and" => Atomic::And,
                "or" => Atomic::Or,
                "xor" => Atomic::Xor,
                _ => return None,
            })
        });
        let (Some(f), true) = (f, m.takes("sync")) else { return self.unsupported(i) };
        let ty = self.ty(i, m)?;
        self.done(i, m)?;
        if !matches!(ty, Type::B32 | Type::U32 | Type::S32) {
            return self.unsupported(i);
        }
        let [d, a, mask] = self.operands(i)?;
        let a = self.src(a, ty)?;
        let mask = self.src(mask, Type::B32)?;
        let d = self.dst(d, ty)?;
        self.emit(i, Class::Shuffle, Op::Redux { f, signed: ty == Type::S32, d, a, mask })
    }
}
