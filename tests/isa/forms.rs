//! The instruction forms of a PTX text.

use std::collections::BTreeSet;

/// Lists each opcode with all its modifiers and the kinds of its operands: `r` for a register, `i` for a number, `s`
/// for a symbol, `{}` for a vector, `[r+i]` for an address, and special registers by name. The target of a jump is no
/// operand.
pub fn forms(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    code.join("\n").split(';').filter_map(form).collect()
}

fn form(statement: &str) -> Option<String> {
    // Line directives (`.loc`), labels, braces and heads of entries come before the instruction.
    let line = statement.lines().map(strip).rfind(|line| !line.is_empty() && !line.starts_with('.'))?;
    let (opcode, operands) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if !opcode.starts_with(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    let mut kinds: Vec<String> = match opcode.starts_with("bra") {
        true => vec![],
        false => split(operands).into_iter().map(kind).collect(),
    };
    kinds.insert(0, opcode.into());
    Some(kinds.join(" "))
}

/// Splits operands at the commas outside braces.
fn split(operands: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = operands.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn kind(operand: &str) -> String {
    let special = ["%tid.", "%ntid.", "%ctaid.", "%nctaid.", "%lane", "%warpid", "%nwarpid", "%clock"];
    match operand.chars().next().unwrap_or(' ') {
        '[' => {
            let (base, offset) =
                operand.trim_matches(['[', ']']).split_once('+').map_or(("", ""), |parts| parts);
            let base = if base.is_empty() { operand.trim_matches(['[', ']']) } else { base };
            format!("[{}{}]", kind(base.trim()), if offset.is_empty() { "" } else { "+i" })
        }
        '{' => "{}".into(),
        '%' if special.iter().any(|name| operand.starts_with(name)) => operand.into(),
        '%' => operand.split('|').map(|_| "r").collect::<Vec<_>>().join("|"),
        '!' => "!r".into(),
        '-' | '0'..='9' => "i".into(),
        _ => "s".into(),
    }
}

/// A line without the braces, label and guard in front of its instruction.
fn strip(line: &str) -> &str {
    let mut rest = line.trim().trim_start_matches(['{', '}']).trim_start();
    if let Some((label, after)) = rest.split_once(':')
        && !label.contains(char::is_whitespace)
        && !after.starts_with(':')
    {
        rest = after.trim_start();
    }
    match rest.strip_prefix('@') {
        Some(guarded) => guarded.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start()),
        None => rest,
    }
}

#[test]
fn forms_are_read_from_what_a_compiler_writes() {
    let text = "
// .add.f64 in a comment;
.visible .entry f(\n.param .u64 f_0\n)\n.maxntid 32, 1, 1\n{
.reg .pred %p<3>;
.loc 1 20 5
mov.u32 %r1, %tid.x; mov.u32 %r2, %laneid;
mov.b32 %r3, {%rs1, %rs2};
$L__BB0_2: @!%p1 bra $L__BB0_2;
\t@%p2 ld.global.nc.L1::no_allocate.v4.f32 {%f1,%f2,%f3,%f4}, [%rd1+16];
{ // begin inline asm
{ cvt.rn.bf16.f32 %rs1, %f1;}
}
shfl.sync.up.b32 %r1|%p1, %r2, 1, %r3, -1;
st.shared.f32 [cells], 0f3F800000;
ret;
}";
    let want = [
        "bra",
        "cvt.rn.bf16.f32 r r",
        "ld.global.nc.L1::no_allocate.v4.f32 {} [r+i]",
        "mov.b32 r {}",
        "mov.u32 r %laneid",
        "mov.u32 r %tid.x",
        "ret",
        "shfl.sync.up.b32 r|r r i r i",
        "st.shared.f32 [s] i",
    ];
    assert_eq!(forms(text).into_iter().collect::<Vec<_>>(), want);
}
