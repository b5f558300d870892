//! Forms that PTX does not have, although their parts exist. They are refused, because no document says what they would do.

use super::modifiers::Modifiers;
use crate::types::Type;

const ROUNDINGS: [&str; 9] = ["rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"];

const EVICTIONS: [&str; 5] =
    ["L1::no_allocate", "L1::evict_normal", "L1::evict_first", "L1::evict_last", "L1::evict_unchanged"];

impl Modifiers<'_> {
    /// Whether nothing speaks against these modifiers with this opcode. Whether the emulator has the form is told later.
    pub fn legal(&self) -> bool {
        let all = self.all();
        let types: Vec<Type> = all.iter().filter_map(|m| Type::parse(m)).collect();
        let twice = all.iter().enumerate().any(|(k, m)| Type::parse(m).is_none() && all[..k].contains(m));
        let roundings = all.iter().filter(|m| ROUNDINGS.contains(m)).count();
        // Products of matrices name the types of both factors.
        if twice && !matches!(self.name, "mma" | "wmma") || roundings > 1 {
            return false;
        }
        let has = |what: &str| all.contains(&what);
        if !access(self.name, &has) {
            return false;
        }
        match types.last() {
            Some(Type::F32) if types.len() == 1 && self.name != "cvt" => {
                single(self.name, &has, roundings == 1, all.len())
            }
            Some(Type::F64) if types.len() == 1 => double(self.name, &has, roundings == 1, all.len()),
            _ => whole(self.name, &types, &has),
        }
    }
}

/// Forms of f32; `count` is the number of modifiers with the type.
fn single(name: &str, has: &dyn Fn(&str) -> bool, rounded: bool, count: usize) -> bool {
    let ways = usize::from(rounded) + usize::from(has("approx")) + usize::from(has("full"));
    match name {
        "copysign" => count == 1,
        "tanh" => count == 2,
        "div" | "rcp" | "sqrt" => ways == 1,
        "setp" => !["lo", "ls", "hi", "hs"].iter().any(|c| has(c)),
        _ => true,
    }
}

/// Forms of f64.
fn double(name: &str, has: &dyn Fn(&str) -> bool, rounded: bool, count: usize) -> bool {
    match name {
        "add" | "sub" | "mul" => count == 1 + usize::from(rounded),
        "fma" | "mad" | "div" | "sqrt" => rounded && count == 2,
        "rcp" => rounded && count == 2 || has("approx") && has("ftz") && count == 3,
        "rsqrt" => !rounded,
        "min" | "max" | "neg" | "abs" | "copysign" => count == 1,
        "setp" => !["lo", "ls", "hi", "hs", "ftz"].iter().any(|c| has(c)),
        _ => true,
    }
}

/// Spaces, orders, scopes and hints of the instructions that access memory, and the parts of barriers.
fn access(name: &str, has: &dyn Fn(&str) -> bool) -> bool {
    let count = |all: &[&str]| all.iter().filter(|m| has(m)).count();
    let order = count(&["weak", "volatile", "relaxed", "acquire", "release", "acq_rel"]);
    let scope = count(&["cta", "cluster", "gpu", "sys"]);
    let cache = count(&["ca", "cg", "cs", "lu", "cv", "wb", "wt"]);
    let evict = count(&EVICTIONS);
    let prefetch = count(&["L2::64B", "L2::128B", "L2::256B"]);
    let spaces = count(&["global", "shared", "shared::cta", "shared::cluster", "local", "const"])
        + count(&["param", "param::entry", "param::func"]);
    let near_device = has("global") || spaces == 0;
    let plain = count(&["const", "param", "param::entry", "param::func", "local"]) > 0;
    if has("gl") && name != "membar" {
        return false;
    }
    let once = order <= 1 && scope <= 1 && cache <= 1 && evict <= 1 && prefetch <= 1 && spaces <= 1;
    match name {
        "ld" | "st" => {
            let ordered = count(&["relaxed", "acquire", "release"]) == 1;
            let foreign: &[&str] = if name == "ld" {
                &["release", "acq_rel", "wb", "wt"]
            } else {
                &[
                    "acquire",
                    "acq_rel",
                    "ca",
                    "lu",
                    "cv",
                    "nc",
                    "L2::64B",
                    "L2::128B",
                    "L2::256B",
                    "param::entry",
                ]
            };
            let strong = ordered || has("volatile");
            once && count(foreign) == 0
                && ordered == (scope == 1)
                && (!has("mmio") || has("relaxed") && has("sys"))
                && !(strong && plain)
                && !(cache == 1 && (strong || evict == 1))
                && !(evict == 1 && (has("volatile") || !near_device))
                && (prefetch == 0 || near_device)
                && !(has("nc") && (!has("global") || strong || has("cv") || has("lu")))
                && count(&["v2", "v4"]) <= 1
        }
        "ldu" => {
            let vectors = count(&["v2", "v4"]);
            near_device
                && vectors <= 1
                && order + scope + cache + evict + prefetch + count(&["nc", "mmio"]) == 0
        }
        "atom" | "red" => {
            let foreign = ["weak", "volatile", "mmio"];
            once && cache + evict + prefetch + count(&foreign) == 0
                && (name == "atom" || !has("acquire") && !has("acq_rel"))
        }
        // These reach shared memory of their own block only.
        "wmma" | "ldmatrix" | "stmatrix" => !has("shared::cluster"),
        "mapa" => has("shared::cluster") == (spaces == 1) && (has("u64") || spaces == 1),
        "getctarank" => has("shared::cluster") == (spaces == 1),
        "cp" if has("mbarrier") && has("shared::cluster") => has("bulk"),
        "cp" => {
            order + scope + evict + count(&["mmio"]) == 0
                && prefetch <= 1
                && (has("bulk") || !has("global") || count(&["ca", "cg"]) == 1 && cache == 1)
        }
        "fence" | "membar" => fence(name, has, order, scope),
        "cvta" => spaces == 1 && !has("param::func"),
        "isspacep" => spaces == 1 && !has("to") && !has("param::func"),
        "bar" if has("warp") => has("sync") && !has("cta"),
        "bar" => !has("aligned"),
        "barrier" => !has("warp"),
        _ => true,
    }
}

/// Forms of fences, from the number of their orders and scopes.
fn fence(name: &str, has: &dyn Fn(&str) -> bool, order: usize, scope: usize) -> bool {
    let orders = order + usize::from(has("sc"));
    let spaces = ["global", "shared::cta", "shared::cluster"].iter().filter(|m| has(m)).count();
    match (has("proxy"), name) {
        (true, "membar") => has("alias") && !has("async") && orders + scope + spaces == 0,
        (true, _) => {
            has("alias") != has("async") && spaces <= usize::from(has("async")) && orders + scope == 0
        }
        (false, "membar") => {
            orders == 0
                && !has("mbarrier_init")
                && usize::from(has("cta")) + usize::from(has("gl")) + usize::from(has("sys")) == 1
        }
        _ if has("mbarrier_init") => has("release") && has("cluster") && orders + scope == 2,
        _ => scope == 1 && orders <= 1 && !["weak", "volatile", "relaxed", "gl"].iter().any(|m| has(m)),
    }
}

/// Forms of whole numbers, bits and mixed types.
fn whole(name: &str, types: &[Type], has: &dyn Fn(&str) -> bool) -> bool {
    let bits = |ty: &Type| matches!(ty, Type::B8 | Type::B16 | Type::B32 | Type::B64);
    let half = |ty: &Type| matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
    match name {
        "and" | "or" | "xor" | "not" => types.iter().all(|ty| bits(ty) || *ty == Type::Pred),
        "cnot" | "shl" | "popc" | "clz" | "bfi" => types.iter().all(bits),
        "brev" => types.iter().all(|ty| bits(ty) && ty.bits() > 16),
        "cvt" if has("pack") => true,
        "cvt" if types.len() + ["tf32", "e4m3x2", "e5m2x2"].iter().filter(|f| has(f)).count() != 2 => false,
        "cvt" if has("sat") && types.iter().all(|ty| ty.integer()) => {
            !types.iter().any(bits) && !matches!(types, [to, from] if holds_all(*to, *from))
        }
        "add" | "sub" | "mul" | "mad" | "div" | "rem" | "min" | "max" | "sad" | "bfe" | "bfind" | "addc"
        | "subc" | "madc" | "cvt" => !types.iter().any(bits),
        "dp4a" => types.iter().all(|ty| matches!(ty, Type::U32 | Type::S32)),
        "neg" | "abs" => types.iter().all(|ty| ty.signed() || half(ty)),
        "mov" => !types.iter().any(|ty| half(ty) || ty.bits() == 8),
        "selp" | "ld" | "ldu" | "st" => !types.iter().any(half),
        "redux" if ["and", "or", "xor"].iter().any(|f| has(f)) => types == [Type::B32],
        "redux" => matches!(types, [Type::U32 | Type::S32]),
        "setp" | "set" => compared(types, has),
        _ => true,
    }
}

/// Whether every value of a whole type is one of another, so that nothing can saturate.
fn holds_all(to: Type, from: Type) -> bool {
    match (to.signed(), from.signed()) {
        (true, false) => to.bits() > from.bits(),
        (false, true) => false,
        _ => to.bits() >= from.bits(),
    }
}

/// Whether a comparison exists for the type that is compared, the last one.
fn compared(types: &[Type], has: &dyn Fn(&str) -> bool) -> bool {
    let Some(ty) = types.last() else { return false };
    let any = |all: &[&str]| all.iter().any(|c| has(c));
    let (ordered, unsigned) = (["lt", "le", "gt", "ge"], ["lo", "ls", "hi", "hs"]);
    let unordered = ["equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];
    if ty.float() {
        let brain = types.first() == Some(&Type::Bf16) && types.len() == 2;
        if brain && (has("ftz") || *ty == Type::F16) {
            return false;
        }
        return !(any(&unsigned) || has("ftz") && *ty == Type::F64);
    }
    let plain = ty.signed() || matches!(ty, Type::U16 | Type::U32 | Type::U64);
    !any(&unordered) && !has("ftz") && (plain || !any(&ordered)) && (!any(&unsigned) || plain && !ty.signed())
}
