//! The formats of `printf`, as C has them.

use std::fmt::Write;

use crate::fault::Run;

/// The most bytes that a conversion may give: no output keeps more.
pub(crate) const MOST_TEXT: usize = 1 << 20;

/// The arguments of a call of `printf`.
pub(crate) trait Arguments {
    /// The next argument, of 4 or 8 bytes.
    fn value(&mut self, bytes: u32) -> Run<u64>;
    /// The text at an address, without its end.
    fn text(&mut self, at: u64) -> Run<Vec<u8>>;
}

/// What stands between `%` and the letter of a conversion.
#[derive(Debug, Clone, Copy, Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    /// The bytes of a whole number: 1, 2, 4 or 8.
    bytes: u32,
}

/// Writes a text with its arguments, and returns how many there were. What is no conversion of C is written as it stands.
pub(crate) fn format(format: &[u8], arguments: &mut impl Arguments, out: &mut Vec<u8>) -> Run<u32> {
    let (mut at, mut count) = (0, 0);
    while at < format.len() && out.len() <= MOST_TEXT {
        if format[at] != b'%' {
            out.push(format[at]);
            at += 1;
            continue;
        }
        let start = at;
        at += 1;
        let mut spec = Spec { bytes: 4, ..Spec::default() };
        at = flags(format, at, &mut spec);
        at = size(format, at, arguments, &mut count, &mut spec)?;
        at = length(format, at, &mut spec);
        let Some(&letter) = format.get(at) else {
            out.extend_from_slice(&format[start..]);
            break;
        };
        at += 1;
        if letter == b'%' {
            out.push(b'%');
        } else if conversion(letter, &spec, arguments, out)? {
            count += 1;
        } else {
            out.extend_from_slice(&format[start..at]);
        }
    }
    Ok(count)
}

fn flags(format: &[u8], mut at: usize, spec: &mut Spec) -> usize {
    while let Some(c) = format.get(at) {
        match c {
            b'-' => spec.left = true,
            b'+' => spec.plus = true,
            b' ' => spec.space = true,
            b'#' => spec.alternate = true,
            b'0' => spec.zero = true,
            _ => break,
        }
        at += 1;
    }
    at
}

/// Reads the width and the precision, each a number or `*` for an argument.
fn size(
    format: &[u8],
    mut at: usize,
    arguments: &mut impl Arguments,
    count: &mut u32,
    spec: &mut Spec,
) -> Run<usize> {
    let mut number = |at: &mut usize, arguments: &mut dyn FnMut() -> Run<u64>| -> Run<i64> {
        if format.get(*at) == Some(&b'*') {
            *at += 1;
            *count += 1;
            return Ok(i64::from(arguments()? as u32 as i32));
        }
        let mut n = 0i64;
        while let Some(digit) = format.get(*at).filter(|c| c.is_ascii_digit()) {
            n = (n * 10 + i64::from(digit - b'0')).min(MOST_TEXT as i64);
            *at += 1;
        }
        Ok(n)
    };
    let bounded = |n: i64| (n.unsigned_abs() as usize).min(MOST_TEXT);
    let width = number(&mut at, &mut || arguments.value(4))?;
    spec.left |= width < 0;
    spec.width = bounded(width);
    if format.get(at) == Some(&b'.') {
        at += 1;
        let precision = number(&mut at, &mut || arguments.value(4))?;
        spec.precision = (precision >= 0).then(|| bounded(precision));
    }
    Ok(at)
}

/// Reads the length of a whole number.
fn length(format: &[u8], mut at: usize, spec: &mut Spec) -> usize {
    while let Some(c) = format.get(at) {
        match c {
            b'h' if spec.bytes == 2 => spec.bytes = 1,
            b'h' => spec.bytes = 2,
            b'l' | b'j' | b'z' | b't' | b'L' | b'q' => spec.bytes = 8,
            _ => break,
        }
        at += 1;
    }
    at
}

/// Writes one argument. Returns false for a letter that is no conversion.
fn conversion(letter: u8, spec: &Spec, arguments: &mut impl Arguments, out: &mut Vec<u8>) -> Run<bool> {
    // Small numbers come as 4 bytes.
    let stored = spec.bytes.max(4);
    match letter {
        b'd' | b'i' => {
            let shift = 64 - 8 * spec.bytes;
            let n = (arguments.value(stored)? << shift) as i64 >> shift;
            whole(out, spec, sign(spec, n < 0), n.unsigned_abs().to_string());
        }
        b'u' | b'x' | b'X' | b'o' => {
            let shift = 64 - 8 * spec.bytes;
            let n = arguments.value(stored)? << shift >> shift;
            unsigned(out, spec, letter, n);
        }
        b'c' => {
            let byte = arguments.value(4)? as u8;
            pad(out, spec, b"", &[byte], false);
        }
        b's' => {
            let at = arguments.value(8)?;
            let mut text = if at == 0 { b"(null)".to_vec() } else { arguments.text(at)? };
            text.truncate(spec.precision.unwrap_or(usize::MAX));
            pad(out, spec, b"", &text, false);
        }
        b'p' => {
            let at = arguments.value(8)?;
            let text = if at == 0 { "(nil)".into() } else { format!("{at:#x}") };
            pad(out, spec, b"", text.as_bytes(), false);
        }
        b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' => {
            let x = f64::from_bits(arguments.value(8)?);
            float(out, spec, letter, x);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What stands before a number that has a sign.
fn sign(spec: &Spec, negative: bool) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn unsigned(out: &mut Vec<u8>, spec: &Spec, letter: u8, n: u64) {
    let (prefix, digits) = match letter {
        b'u' => ("", n.to_string()),
        b'x' => (if spec.alternate && n != 0 { "0x" } else { "" }, format!("{n:x}")),
        b'X' => (if spec.alternate && n != 0 { "0X" } else { "" }, format!("{n:X}")),
        _ => {
            let digits = format!("{n:o}");
            // `#` asks for a zero in front, which the precision may give already.
            let zero = spec.alternate && n != 0 && spec.precision.is_none_or(|p| p <= digits.len());
            ("", if zero { format!("0{digits}") } else { digits })
        }
    };
    whole(out, spec, prefix, digits);
}

/// Writes a whole number with at least as many digits as the precision says.
fn whole(out: &mut Vec<u8>, spec: &Spec, prefix: &str, digits: String) {
    let mut digits = digits;
    if let Some(precision) = spec.precision {
        if precision == 0 && digits == "0" {
            digits.clear();
        }
        digits.insert_str(0, &"0".repeat(precision.saturating_sub(digits.len())));
    }
    pad(out, spec, prefix.as_bytes(), digits.as_bytes(), spec.zero && spec.precision.is_none());
}

/// Writes a text at its width, with blanks, or with zeros between the prefix and the rest.
fn pad(out: &mut Vec<u8>, spec: &Spec, prefix: &[u8], text: &[u8], zeros: bool) {
    let blanks = spec.width.saturating_sub(prefix.len() + text.len());
    let fill = |out: &mut Vec<u8>, c: u8| out.resize(out.len() + blanks, c);
    if !spec.left && !zeros {
        fill(out, b' ');
    }
    out.extend_from_slice(prefix);
    if !spec.left && zeros {
        fill(out, b'0');
    }
    out.extend_from_slice(text);
    if spec.left {
        fill(out, b' ');
    }
}

fn float(out: &mut Vec<u8>, spec: &Spec, letter: u8, x: f64) {
    let magnitude = x.abs();
    let (mut prefix, text) = (sign(spec, x.is_sign_negative()).to_string(), finite(spec, letter, magnitude));
    let text = if x.is_nan() {
        "nan".into()
    } else if x.is_infinite() {
        "inf".into()
    } else {
        text
    };
    let text = match text.strip_prefix("0x") {
        Some(digits) => {
            prefix.push_str("0x");
            digits.to_string()
        }
        None => text,
    };
    let upper = letter.is_ascii_uppercase();
    let (prefix, text) = if upper { (prefix.to_uppercase(), text.to_uppercase()) } else { (prefix, text) };
    pad(out, spec, prefix.as_bytes(), text.as_bytes(), spec.zero && x.is_finite());
}

/// The most decimals that can differ from zero.
const MOST_DECIMALS: usize = 1074;

/// A number that is not negative, in the form of a letter. NaN and infinity have another text.
fn finite(spec: &Spec, letter: u8, x: f64) -> String {
    if !x.is_finite() {
        return String::new();
    }
    let precision = spec.precision.unwrap_or(6);
    match letter.to_ascii_lowercase() {
        b'f' => fixed(x, precision, spec.alternate),
        b'e' => scientific(x, precision, spec.alternate),
        b'a' => hexadecimal(x, spec.precision, spec.alternate),
        _ => {
            let precision = precision.max(1);
            let rounded = scientific(x, precision - 1, false);
            let exponent: i64 = rounded.rsplit('e').next().and_then(|e| e.parse().ok()).unwrap_or(0);
            let small = exponent < -4 || exponent >= precision as i64;
            let text = if small {
                scientific(x, precision - 1, spec.alternate)
            } else {
                fixed(x, (precision as i64 - 1 - exponent) as usize, spec.alternate)
            };
            if spec.alternate { text } else { without_zeros(&text) }
        }
    }
}

/// Takes the zeros away at the end of the decimals.
fn without_zeros(text: &str) -> String {
    let (number, exponent) = text.split_at(text.find('e').unwrap_or(text.len()));
    if !number.contains('.') {
        return text.into();
    }
    format!("{}{exponent}", number.trim_end_matches('0').trim_end_matches('.'))
}

fn fixed(x: f64, precision: usize, point: bool) -> String {
    let exact = precision.min(MOST_DECIMALS);
    let mut text = format!("{x:.exact$}");
    text.push_str(&"0".repeat(precision - exact));
    if point && precision == 0 {
        text.push('.');
    }
    text
}

fn scientific(x: f64, precision: usize, point: bool) -> String {
    let exact = precision.min(MOST_DECIMALS);
    let text = format!("{x:.exact$e}");
    let (number, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    let dot = if point && precision == 0 { "." } else { "" };
    format!("{number}{dot}{}e{sign}{digits:0>2}", "0".repeat(precision - exact))
}

/// The hexadecimal form: one digit, the bits of the fraction, and the power of two.
fn hexadecimal(x: f64, precision: Option<usize>, point: bool) -> String {
    let bits = x.to_bits();
    let (biased, mut fraction) = ((bits >> 52) as i64, bits & ((1 << 52) - 1));
    let mut lead = u64::from(biased != 0);
    let exponent = match (biased, fraction) {
        (0, 0) => 0,
        (0, _) => -1022,
        _ => biased - 1023,
    };
    // The fraction has 13 digits; fewer are rounded to the nearest, and to even.
    let mut digits = 13;
    if let Some(wanted) = precision.filter(|&p| p < 13) {
        let drop = 4 * (13 - wanted) as u32;
        let all = lead << 52 | fraction;
        let (kept, rest, half) = (all >> drop, all & ((1 << drop) - 1), 1u64 << (drop - 1));
        let kept = kept + u64::from(rest > half || rest == half && kept & 1 == 1);
        digits = wanted;
        lead = kept >> (4 * wanted);
        fraction = kept & ((1u64 << (4 * wanted)) - 1);
    }
    let mut text = if digits == 0 { String::new() } else { format!("{fraction:0digits$x}") };
    match precision {
        None => text.truncate(text.trim_end_matches('0').len()),
        Some(precision) => text.push_str(&"0".repeat(precision.saturating_sub(digits))),
    }
    let dot = if text.is_empty() && !point { "" } else { "." };
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = write!(out, "0x{lead}{dot}{text}p{exponent:+}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments as they are, and texts by their number.
    struct List<'l>(std::slice::Iter<'l, u64>, &'l [&'l str]);

    impl Arguments for List<'_> {
        fn value(&mut self, bytes: u32) -> Run<u64> {
            let value = *self.0.next().expect("the format takes no more than there are");
            Ok(if bytes == 4 { value & 0xffff_ffff } else { value })
        }

        fn text(&mut self, at: u64) -> Run<Vec<u8>> {
            Ok(self.1[at as usize - 1].into())
        }
    }

    #[track_caller]
    fn gives(text: &str, values: &[u64], want: &str) {
        let mut out = Vec::new();
        let count = format(text.as_bytes(), &mut List(values.iter(), &["hello", ""]), &mut out).unwrap();
        assert_eq!(
            (String::from_utf8(out).unwrap().as_str(), count as usize),
            (want, values.len()),
            "{text}"
        );
    }

    /// What the C library of GNU prints for the same.
    #[test]
    fn whole_numbers() {
        let minus = |n: i64| n as u64;
        gives("%d %i|", &[5, minus(-5)], "5 -5|");
        gives("%5d|%-5d|%05d|%+d|% d", &[42, 42, 42, 42, 42], "   42|42   |00042|+42| 42");
        gives(
            "%+05d|%-05d|%5.3d|%05.3d|%.0d|%.3d",
            &[7, 7, 7, 7, 0, minus(-7)],
            "+0007|7    |  007|  007||-007",
        );
        gives(
            "%u %x %X %#x %#X %o %#o",
            &[0xffff_ffff, 255, 255, 255, 255, 8, 8],
            "4294967295 ff FF 0xff 0XFF 10 010",
        );
        gives("%#x %#o %#.3o %#010x", &[0, 0, 8, 255], "0 0 010 0x000000ff");
        gives("%hhd %hhu %hd %hu", &[0x1ff, 0x1ff, 0x18000, 0x18000], "-1 255 -32768 32768");
        gives(
            "%ld %lld %lu %llx %zu",
            &[minus(-3), minus(-3), 1 << 40, 1 << 40, 9],
            "-3 -3 1099511627776 10000000000 9",
        );
        gives(
            "%*d|%-*d|%*d|%.*d|%.*d",
            &[4, 7, 4, 7, minus(-4), 7, 3, 7, minus(-1), 7],
            "   7|7   |7   |007|7",
        );
    }

    #[test]
    fn texts_and_pointers() {
        gives(
            "%s|%10s|%-10s|%.2s|%c%c|%3c|%%",
            &[1, 1, 1, 1, 65, 66, 67],
            "hello|     hello|hello     |he|AB|  C|%",
        );
        gives("%s|%s|%p|%p|%20p", &[2, 0, 0, 0x1234, 0x1234], "|(null)|(nil)|0x1234|              0x1234");
        gives("100%", &[], "100%");
        gives("%k %5q", &[], "%k %5q");
    }

    #[test]
    fn floats() {
        let f = |x: f64| x.to_bits();
        gives(
            "%f %.2f %.0f %#.0f %8.3f|%-8.1f|%08.2f",
            &[f(1.5), f(2.675), f(2.5), f(2.5), f(3.14159), f(1.0), f(-1.5)],
            "1.500000 2.67 2 2.    3.142|1.0     |-0001.50",
        );
        gives(
            "%e %.2E %.0e %e %e",
            &[f(12345.678), f(0.00012), f(5.5), f(0.0), f(1e100)],
            "1.234568e+04 1.20E-04 6e+00 0.000000e+00 1.000000e+100",
        );
        gives(
            "%g %g %g %g %g %g",
            &[f(100000.0), f(1e6), f(0.0001), f(0.00001), f(0.5), f(0.0)],
            "100000 1e+06 0.0001 1e-05 0.5 0",
        );
        gives(
            "%.3g %#g %.10g %G %.0g",
            &[f(1234.5), f(1.5), f(1.0 / 3.0), f(1e-10), f(0.95)],
            "1.23e+03 1.50000 0.3333333333 1E-10 0.9",
        );
        gives("%g %g", &[f(999999.5), f(99999.95)], "1e+06 99999.9");
        gives(
            "%f %e %g %5f|%05f|%F",
            &[
                f(f64::INFINITY),
                f(f64::NEG_INFINITY),
                f(f64::NAN),
                f(f64::INFINITY),
                f(f64::INFINITY),
                f(f64::INFINITY),
            ],
            "inf -inf nan   inf|  inf|INF",
        );
        gives(
            "%a %a %a %a %A",
            &[f(1.0), f(0.5), f(-3.75), f(0.0), f(0.1)],
            "0x1p+0 0x1p-1 -0x1.ep+1 0x0p+0 0X1.999999999999AP-4",
        );
        gives(
            "%.1a %.0a %.2a %.15a %a",
            &[f(1.96875), f(1.5), f(1.0), f(1.5), f(5e-324)],
            "0x2.0p+0 0x2p+0 0x1.00p+0 0x1.800000000000000p+0 0x0.0000000000001p-1022",
        );
        gives("%+f % f %.1f", &[f(1.0), f(1.0), f(-0.0)], "+1.000000  1.000000 -0.0");
    }

    #[test]
    fn no_width_is_too_large() {
        let mut out = Vec::new();
        let values = [i32::MAX as u64, 7];
        format(b"%*d%9999999999d%.999999f", &mut List([values[0], 7, 7, 1].iter(), &[]), &mut out).unwrap();
        assert!(out.len() <= 3 * MOST_TEXT + 64);
    }
}
