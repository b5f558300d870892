//! Calls. A direct call becomes the body of the function, unless the function calls itself. What is recursive or called by
//! its address is compiled once, out of line, with its variables in a frame.

use super::builder::{Builder, InlinedCall, Lowered};
use super::modifiers::Modifiers;
use super::names::{Callee, Home, Name, Scope};
use crate::isa::{NO_SLOT, Op, Slot};
use crate::meter::Class;
use crate::program::{CallSite, FunctionCode, LOCAL_GAP, Place, Placed, SystemCall, SystemFunction};
use crate::syntax::{Guard, Instruction, Operand, Variable};
use crate::types::{RegisterFile, Space, Type};

/// How deep calls may nest that are inlined.
const DEEPEST_CALL: usize = 16;

/// The frame of a function that is being compiled out of line.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    /// The first free offset.
    pub next: u32,
    pub align: u32,
    pub placed: Vec<Placed>,
}

/// The operands of a call.
struct Parts<'i, 't> {
    returns: &'i [Operand<'t>],
    /// A function, or a register with the address of one.
    target: &'t str,
    args: &'i [Operand<'t>],
    /// The prototype or the list of targets of an indirect call.
    list: Option<&'t str>,
}

impl<'t, 'b> Builder<'t, 'b> {
    /// `call.uni (retval0), name, (param0, param1), prototype;`
    pub(super) fn call(&mut self, i: &Instruction<'t>, m: &mut Modifiers<'t>) -> Lowered<()> {
        m.takes("uni");
        self.done(i, m)?;
        let Some(parts) = parts(&i.operands) else {
            return self.fail("a call needs the name of a function, or a register with a prototype");
        };
        let args = self.places(parts.args)?;
        let returns = self.places(parts.returns)?;
        if let Some(list) = parts.list {
            return self.indirect(i, parts.target, list, &args, &returns);
        }
        let name = parts.target;
        let Some(&callee) = self.file.functions.get(name) else {
            return match SystemFunction::named(name) {
                Some(function) => self.system(i, name, function, &args, &returns),
                None => self.fail(format!("`{name}` is called, but this file does not define it")),
            };
        };
        self.check_formals(name, &callee.function.params, &args)?;
        self.check_formals(name, &callee.function.returns, &returns)?;
        if let Some(refused) = &callee.function.refused {
            return Err(refused.clone());
        }
        if self.file.recursive.contains(&callee.number) {
            let target = self.out_of_line(callee)?;
            return self.call_site(i, Some(target), NO_SLOT, &args, &returns);
        }
        let homes: Vec<Home> = args.into_iter().chain(returns).collect();
        self.inline(i, callee, &homes)
    }

    /// The `.param` variables that a call names.
    fn places(&mut self, operands: &[Operand<'t>]) -> Lowered<Vec<Home>> {
        let mut all = Vec::with_capacity(operands.len());
        for operand in operands {
            let home = match operand {
                Operand::Name(name, 0) => self.lookup(name)?,
                _ => None,
            };
            let Some(Name::Variable(home)) = home else {
                return self.fail("the parameters of a call must be .param variables");
            };
            all.push(home);
        }
        Ok(all)
    }

    /// Checks that parameters have the number and the sizes that a function asks for.
    fn check_formals(&self, name: &str, formals: &[Variable<'t>], given: &[Home]) -> Lowered<()> {
        if formals.len() != given.len() {
            return self.fail(format!("`{name}` is called with another number of parameters than it has"));
        }
        match formals.iter().zip(given).find(|(formal, home)| home.bytes != formal.bytes) {
            None => Ok(()),
            Some((formal, home)) => self.fail(format!(
                "parameter `{}` has {} bytes, {} are given",
                formal.name, formal.bytes, home.bytes
            )),
        }
    }

    /// Lowers the body of a function in place of its call.
    fn inline(&mut self, i: &Instruction<'t>, callee: Callee<'t, 'b>, homes: &[Home]) -> Lowered<()> {
        let function = callee.function;
        if self.calls.len() == DEEPEST_CALL {
            return self.fail(format!("calls are nested deeper than {DEEPEST_CALL}"));
        }
        self.labels.push(None);
        let end = self.labels.len() - 1;
        if let Some(Guard { name, negated }) = i.guard {
            let guard = Some(Guard { name, negated: !negated });
            let around = Instruction { guard, opcode: i.opcode, operands: Vec::new(), line: i.line };
            self.emit(&around, Class::Control, Op::Branch { target: end as u32 })?;
        }
        let mut scope = Scope::default();
        for (formal, home) in function.params.iter().chain(&function.returns).zip(homes) {
            scope.names.insert(formal.name, Name::Variable(*home));
        }
        self.calls.push(InlinedCall { end });
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

    /// Calls the function whose address a register holds.
    fn indirect(
        &mut self,
        i: &Instruction<'t>,
        target: &'t str,
        list: &'t str,
        args: &[Home],
        returns: &[Home],
    ) -> Lowered<()> {
        let a = self.src(&Operand::Name(target, 0), Type::B64)?;
        let candidates: Vec<Callee<'t, 'b>> = match self.lookup(list)? {
            Some(Name::Targets(names)) => {
                let functions = names.iter().map(|name| self.file.functions.get(name).copied());
                let Some(all) = functions.collect() else {
                    return self.fail(format!("`{list}` names what is no function of this file"));
                };
                all
            }
            Some(Name::Prototype(prototype)) => {
                self.check_formals(list, &prototype.params, args)?;
                self.check_formals(list, &prototype.returns, returns)?;
                self.take(self.file.taken.len())?;
                self.file.taken.clone()
            }
            _ => return self.fail(format!("`{list}` is no prototype and no list of functions")),
        };
        for callee in candidates {
            let alike = |formals: &[Variable<'t>], homes: &[Home]| {
                formals.len() == homes.len() && formals.iter().zip(homes).all(|(f, h)| f.bytes == h.bytes)
            };
            if alike(&callee.function.params, args) && alike(&callee.function.returns, returns) {
                self.out_of_line(callee)?;
            }
        }
        self.frame_pointer();
        self.call_site(i, None, a, args, returns)
    }

    /// Emits a call of a function out of line: of `target`, or of the function at the address in `a`.
    fn call_site(
        &mut self,
        i: &Instruction<'t>,
        target: Option<u32>,
        a: Slot,
        args: &[Home],
        returns: &[Home],
    ) -> Lowered<()> {
        let (args, returns) = (self.in_local(args)?, self.in_local(returns)?);
        self.take(args.len() + returns.len() + 4)?;
        self.program.calls.push(CallSite { target, args, returns });
        let site = self.program.calls.len() as u32 - 1;
        self.emit(i, Class::Control, Op::Call { site, a })
    }

    /// Where parameters lie in local memory.
    fn in_local(&self, homes: &[Home]) -> Lowered<Vec<Place>> {
        let place = |home: &Home| match home.space {
            Space::Local => {
                Ok(Place { at: home.at as u32, bytes: home.bytes as u32, in_frame: home.in_frame })
            }
            space => self
                .fail(format!("a variable in .{space} memory as a parameter of this call is not supported")),
        };
        homes.iter().map(place).collect()
    }

    /// The slot of the frame pointer.
    pub(super) fn frame_pointer(&mut self) -> Slot {
        if let Some(slot) = self.program.frame_pointer {
            return slot;
        }
        let slot = self.new_slot(RegisterFile::Double);
        self.program.frame_pointer = Some(slot);
        slot
    }

    /// The number of a function that is compiled out of line, which it is once.
    fn out_of_line(&mut self, callee: Callee<'t, 'b>) -> Lowered<u32> {
        if let Some(&id) = self.out_of_line.get(&callee.number) {
            return Ok(id);
        }
        if let Some(refused) = &callee.function.refused {
            return Err(refused.clone());
        }
        self.take(64)?;
        self.frame_pointer();
        let id = self.program.functions.len() as u32;
        self.out_of_line.insert(callee.number, id);
        self.pending.push(callee);
        self.program.functions.push(FunctionCode { number: callee.number, ..FunctionCode::default() });
        Ok(id)
    }

    /// Compiles the functions that the kernel calls out of line, and those that they call.
    pub(super) fn functions(&mut self) -> Lowered<()> {
        let mut id = 0;
        while let Some(&callee) = self.pending.get(id) {
            self.function(id, callee)?;
            id += 1;
        }
        Ok(())
    }

    /// Compiles a function out of line.
    fn function(&mut self, id: usize, callee: Callee<'t, 'b>) -> Lowered<()> {
        let function = callee.function;
        let first = (self.program.words, self.program.doubles, self.program.preds);
        self.frame = Some(FrameBuilder { next: 0, align: LOCAL_GAP, placed: Vec::new() });
        self.line = function.line;
        self.source = None;
        self.depth = 0;
        self.scopes.truncate(1);
        self.scopes.push(Scope::default());
        let mut formals = [Vec::new(), Vec::new()];
        for (places, variables) in formals.iter_mut().zip([&function.params, &function.returns]) {
            for variable in variables {
                self.declare(variable)?;
                if let Some(Placed { at, bytes, .. }) = self.frame.as_ref().and_then(|f| f.placed.last()) {
                    places.push((*at, *bytes));
                }
            }
        }
        let entry = self.program.code.len() as u32;
        self.block(&function.body)?;
        self.opcode = "ret";
        self.emit_part(Class::Control, Op::Return)?;
        let Some(frame) = self.frame.take() else { return self.fail("a function has lost its frame") };
        let [params, returns] = formals;
        self.program.functions[id] = FunctionCode {
            number: callee.number,
            entry,
            words: first.0..self.program.words,
            doubles: first.1..self.program.doubles,
            preds: first.2..self.program.preds,
            frame_bytes: frame.next.max(LOCAL_GAP).next_multiple_of(LOCAL_GAP),
            frame_align: frame.align,
            params,
            returns,
            placed: frame.placed,
        };
        Ok(())
    }

    /// Calls what a driver provides.
    fn system(
        &mut self,
        i: &Instruction<'t>,
        name: &str,
        function: SystemFunction,
        args: &[Home],
        returns: &[Home],
    ) -> Lowered<()> {
        let sizes = |homes: &[Home]| homes.iter().map(|h| h.bytes).collect::<Vec<_>>();
        let (wanted, gives) = function.signature();
        if sizes(args) != wanted || sizes(returns) != gives {
            return self.fail(format!("`{name}` is called with other parameters than it has"));
        }
        let (args, returns) = (self.in_local(args)?, self.in_local(returns)?);
        let needs_frame = args.iter().chain(&returns).any(|place| place.in_frame);
        if needs_frame {
            self.frame_pointer();
        }
        self.program.system_calls.push(SystemCall { function, args, returns });
        let call = self.program.system_calls.len() as u32 - 1;
        self.emit(i, Class::Control, Op::System { call })
    }
}

/// Takes the operands of a call apart.
fn parts<'i, 't>(operands: &'i [Operand<'t>]) -> Option<Parts<'i, 't>> {
    let (returns, rest): (&[Operand<'t>], _) = match operands {
        [Operand::List(list), rest @ ..] => (list, rest),
        rest => (&[], rest),
    };
    let [Operand::Name(target, 0), rest @ ..] = rest else { return None };
    let (args, rest): (&[Operand<'t>], _) = match rest {
        [Operand::List(list), rest @ ..] => (list, rest),
        rest => (&[], rest),
    };
    let list = match rest {
        [] => None,
        [Operand::Name(list, 0)] => Some(*list),
        _ => return None,
    };
    Some(Parts { returns, target, args, list })
}
