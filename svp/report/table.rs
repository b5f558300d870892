//! Tables in plain text for the terminal, and numbers as text.

use std::fmt;
use std::time::Duration;

use crate::data::text::shown;

/// A table of `N` columns. The first is aligned to the left, the others, which hold numbers, to the right.
///
/// ```text
/// method         top-1    trained
/// ------------  ------  ---------
/// linear probe  61.0 %      3,850
/// SVP           84.2 %  1,648,138
/// ```
#[derive(Debug, Clone)]
pub struct Table<const N: usize> {
    header: [String; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub fn new(header: [&str; N]) -> Self {
        Self { header: header.map(String::from), rows: Vec::new() }
    }

    /// Adds a row at the bottom. Names in it are shown so that none breaks the line.
    pub fn row(&mut self, cells: [impl Into<String>; N]) {
        self.rows.push(cells.map(|cell| shown(&cell.into()).into_owned()));
    }

    fn widths(&self) -> [usize; N] {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        std::array::from_fn(|column| lines().map(|line| line[column].chars().count()).max().unwrap_or(0))
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |cells: &[String; N]| {
            let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        writeln!(f, "{}", line(&self.header))?;
        writeln!(f, "{}", line(&widths.map(|width| "-".repeat(width))))?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", line(row)))
    }
}

/// A line of a CSV file, with its line break. Fields that need quotes get them, none breaks the line, and a name that a
/// spreadsheet would take for a formula gets an apostrophe in front.
pub fn csv_line(fields: impl IntoIterator<Item = String>) -> String {
    let is_formula = |field: &str| {
        // Spreadsheets pass over spaces, and some take the wide forms for the others. Tabs and line breaks are escaped.
        let begins = field.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
        begins && field != "-" && field.parse::<f64>().is_err()
    };
    let safe = |field: String| match shown(&field) {
        field if is_formula(&field) => format!("'{field}"),
        field => field.into_owned(),
    };
    let mut line = csv::Writer::from_writer(vec![]);
    line.write_record(fields.into_iter().map(safe)).expect("to memory");
    String::from_utf8(line.into_inner().expect("to memory")).expect("fields are UTF-8")
}

/// A count with thousands separated: `1,644,288`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in binary units, three digits or more: `512 B`, `6.27 MiB`, `15.0 GiB`.
pub fn bytes(n: u64) -> String {
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        value /= 1024.0;
        unit = next;
        // Values from 1023.5 on would be rounded to 1024 of this unit.
        if value < 1023.5 {
            break;
        }
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {unit}")
}

/// A time in its two largest units: `0.4 s`, `23 s`, `1 m 23 s`, `2 h 05 m`, `3 d 04 h`.
pub fn duration(time: Duration) -> String {
    if time < Duration::from_millis(9_950) {
        return format!("{:.1} s", time.as_secs_f64());
    }
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} m {:02} s", seconds % 60),
        3600..86_400 => format!("{hours} h {:02} m", minutes % 60),
        _ => format!("{} d {:02} h", hours / 24, hours % 24),
    }
}

/// A share in percent: `0.7468` is `74.7 %`, NaN is `-`.
pub fn percent(share: f32) -> String {
    if share.is_nan() { "-".into() } else { format!("{:.1} %", 100.0 * share) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_no_line_and_are_no_formulas() {
        let mut table = Table::new(["class", "n"]);
        table.row(["a\nb\u{1b}[2J", "1"]);
        assert_eq!(table.to_string(), "class          n\n-------------  -\na\\nb\\u{1b}[2J  1\n");
        let fields = ["=1+cmd|' /C calc'!A0", "@SUM(1)", " ＝1", "\t=1", "-0.5", "+1e-3", "-", "a\nb,\"c\""]
            .map(String::from);
        assert_eq!(
            csv_line(fields),
            "'=1+cmd|' /C calc'!A0,'@SUM(1),' ＝1,\\t=1,-0.5,+1e-3,-,\"a\\nb,\"\"c\"\"\"\n"
        );
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["method", "top-1", "trained"]);
        table.row(["linear probe", "61.0 %", "3,850"]);
        table.row(["SVP", "84.25 %", "1,648,138"]);
        table.row(["naïve", "-", ""]);
        let expected = "\
method          top-1    trained
------------  -------  ---------
linear probe   61.0 %      3,850
SVP           84.25 %  1,648,138
naïve               -
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        assert_eq!(Table::new(["a", "bc"]).to_string(), "a  bc\n-  --\n");
    }

    #[test]
    fn counts_have_separators() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_644_288, "1,644,288"),
            (10u64.pow(12), "1,000,000,000,000"),
        ];
        for (n, text) in cases {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn sizes_have_their_unit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_235, "10.0 KiB"),
            (6_577_152, "6.27 MiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (1_000 << 20, "1000 MiB"),
            (15 << 30, "15.0 GiB"),
            (u64::MAX, "16777216 TiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn times_have_two_units() {
        let cases = [
            (0, "0.0 s"),
            (440, "0.4 s"),
            (9_949, "9.9 s"),
            (9_950, "10 s"),
            (59_499, "59 s"),
            (59_500, "1 m 00 s"),
            (83_000, "1 m 23 s"),
            (3_599_500, "1 h 00 m"),
            (7_500_000, "2 h 05 m"),
            (273_600_000, "3 d 04 h"),
        ];
        for (millis, text) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn shares_are_percent() {
        assert_eq!(percent(0.7468), "74.7 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(percent(f32::NAN), "-");
    }
}
