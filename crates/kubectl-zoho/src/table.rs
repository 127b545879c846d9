//! Tables and spans of time as text. Pure.

use zoho_api::Time;
use zoho_core::text::printable;

/// No name is longer.
const WIDEST_CELL: usize = 253;

/// Aligned columns, two spaces apart, in kubectl's manner. Empty where there is no row.
///
/// Widths are counted in characters; `paint` colours a cell after it was aligned. A cell is one line, whatever it holds.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], paint: impl Fn(usize, &str) -> String) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell, WIDEST_CELL)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<(String, usize)>| {
        let last = cells.len() - 1;
        let padded = cells.into_iter().enumerate().map(|(column, (text, length))| {
            let space = if column == last { 0 } else { widths[column] + 2 - length };
            format!("{text}{}", " ".repeat(space))
        });
        padded.collect::<String>().trim_end().to_owned()
    };
    let head = line(header.iter().map(|text| ((*text).to_owned(), text.chars().count())).collect());
    let body = rows.iter().map(|row| {
        line(row.iter().enumerate().map(|(column, text)| (paint(column, text), text.chars().count())).collect())
    });
    std::iter::once(head).chain(body).collect::<Vec<_>>().join("\n")
}

/// How long, in the largest units that tell: `45s`, `12m`, `3h5m`, `2d4h`.
pub(crate) fn span(seconds: u64) -> String {
    let pair = |large: u64, small: u64, units: (&str, &str)| match small {
        0 => format!("{large}{}", units.0),
        _ => format!("{large}{}{small}{}", units.0, units.1),
    };
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => pair(seconds / 3600, seconds % 3600 / 60, ("h", "m")),
        _ => pair(seconds / 86_400, seconds % 86_400 / 3600, ("d", "h")),
    }
}

/// When, seen from now: `in 12m`, `3m ago`, `now`.
pub(crate) fn relative(at: Time, now: Time) -> String {
    match at.unix() - now.unix() {
        0 => "now".into(),
        ahead @ 1.. => format!("in {}", span(ahead.unsigned_abs())),
        behind => format!("{} ago", span(behind.unsigned_abs())),
    }
}

/// When, both ways: `10:27Z (in 12m)`; with the date where it is not within a day.
pub(crate) fn when(at: Time, now: Time) -> String {
    let far = (at.unix() - now.unix()).unsigned_abs() > 86_400;
    let clock = if far { at.to_string() } else { at.clock() };
    format!("{clock} ({})", relative(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_unix(1_763_720_000 + seconds)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["a".to_owned(), "wide cell".into(), "x".into()], vec!["longer".into(), "é".into(), String::new()]];
        let text = table(&["NAME", "B", "C"], &rows, |_, text| text.to_owned());
        assert_eq!(text, "NAME    B          C\na       wide cell  x\nlonger  é");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = [vec!["a".to_owned(), "b".into()], vec!["ccc".into(), "d".into()]];
        let text =
            table(&["X", "Y"], &rows, |column, text| if column == 0 { format!("<{text}>") } else { text.into() });
        assert_eq!(text, "X    Y\n<a>    b\n<ccc>  d");
    }

    #[test]
    fn spans_are_told_in_the_units_that_matter() {
        let table = [
            (0, "0s"),
            (99, "99s"),
            (100, "1m"),
            (3599, "59m"),
            (7199, "119m"),
            (7200, "2h"),
            (11_100, "3h5m"),
            (190_000, "2d4h"),
        ];
        for (seconds, expected) in table {
            assert_eq!(span(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn instants_are_told_from_now() {
        assert_eq!(relative(at(1500), at(0)), "in 25m");
        assert_eq!(relative(at(-30), at(0)), "30s ago");
        assert_eq!(relative(at(0), at(0)), "now");
        assert_eq!(when(at(1500), at(0)), "10:38Z (in 25m)");
        assert_eq!(when(at(90_000), at(0)), "2025-11-22T11:13:20Z (in 25h)");
    }
}
