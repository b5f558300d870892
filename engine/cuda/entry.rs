//! The parameters of kernels, from the text of their PTX file. The driver tells them one by one and their number only by
//! an error, which NVIDIA's checkers report.

/// The size in bytes of each parameter of an entry. `None` where the text has no such entry, or a parameter that is not
/// understood.
pub(super) fn parameters(text: &str, entry: &str) -> Option<Vec<usize>> {
    let name =
        |rest: &str| rest.find(|c: char| !c.is_alphanumeric() && !"_$%".contains(c)).unwrap_or(rest.len());
    let entries = text.split(".entry").skip(1).map(str::trim_start);
    let rest = entries.map(|rest| rest.split_at(name(rest))).find(|(name, _)| *name == entry)?.1;
    let Some(list) = rest.trim_start().strip_prefix('(') else { return Some(vec![]) };
    let list = list.split(')').next()?;
    list.split(',').map(str::trim).filter(|parameter| !parameter.is_empty()).map(size).collect()
}

/// The size in bytes of a parameter: `.param .u64 .ptr .global .align 16 x` has 8, `.param .align 8 .b8 x[24]` has 24.
fn size(parameter: &str) -> Option<usize> {
    let width = parameter.split_whitespace().find_map(|word| match word {
        ".b8" | ".u8" | ".s8" => Some(1),
        ".b16" | ".u16" | ".s16" | ".f16" => Some(2),
        ".b32" | ".u32" | ".s32" | ".f32" => Some(4),
        ".b64" | ".u64" | ".s64" | ".f64" => Some(8),
        _ => None,
    })?;
    match parameter.split_once('[') {
        Some((_, count)) => Some(width * count.split(']').next()?.trim().parse::<usize>().ok()?),
        None => Some(width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_sizes_of_their_types() {
        let text = "
            .version 8.4
            .visible .entry first_half(.param .u32 first_half_param_0) { ret; }
            .visible .entry first(
                .param .u64 .ptr .global .align 16 first_param_0,
                .param .align 8 .b8 first_param_1[24],
                .param .f32 first_param_2
            )
            .maxntid 256, 1, 1
            { ld.param.u64 %rd1, [first_param_0]; }
            .entry none { ret; }
            .entry empty() { ret; }
            .entry odd(.param .v4 odd_param_0) { ret; }";
        for (entry, want) in [
            ("first", Some(vec![8, 24, 4])),
            ("first_half", Some(vec![4])),
            ("none", Some(vec![])),
            ("empty", Some(vec![])),
            ("odd", None),
            ("second", None),
        ] {
            assert_eq!(parameters(text, entry), want, "{entry}");
        }
    }

    /// The emulator reads the same list by a parser of the whole language.
    #[test]
    fn a_committed_file_has_the_parameters_that_the_emulator_finds() {
        let text = include_str!("../plain_gemm/kernel.ptx");
        let module = ptx_emulator::Module::parse_whole("plain_gemm/kernel.ptx", text).unwrap();
        for entry in ["plain_gemm_f32_f32", "plain_gemm_bf16_f32", "plain_gemm_bf16_bf16"] {
            let want = module.entry(entry).unwrap().params.iter().map(|parameter| parameter.bytes as usize);
            assert_eq!(parameters(text, entry), Some(want.collect()), "{entry}");
        }
    }
}
