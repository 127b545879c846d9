//! Tables and spans of time as text. Pure.

use zoho_api::Time;
use zoho_core::text::printable;

/// No name is longer.
const WIDEST_CELL: usize = 253;

/// Columns narrower than this are not narrowed further.
const NARROWEST: usize = 10;

/// Aligned columns, two spaces apart, in kubectl's manner. Where they are wider than the place there is, the widest ones go
/// on below: nothing is cut.
///
/// Widths are counted in characters. A cell is one line, whatever it holds.
#[derive(Debug)]
pub(crate) struct Columns {
    widths: Vec<usize>,
}

impl Columns {
    /// As wide as their widest cells, or as there is place.
    pub(crate) fn of(header: &[&str], rows: &[Vec<String>], place: usize) -> Self {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| printable(&row[column], WIDEST_CELL).chars().count());
            cells.chain([header[column].chars().count()]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..header.len()).map(width).collect();
        while widths.iter().sum::<usize>() + 2 * (widths.len() - 1) > place {
            let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > NARROWEST) else { break };
            *widest -= 1;
        }
        Self { widths }
    }

    /// One row; `paint` colours a cell after it was aligned.
    pub(crate) fn row(&self, cells: &[String], paint: impl Fn(usize, &str) -> String) -> String {
        let cells = cells.iter().zip(&self.widths);
        let cells: Vec<Vec<String>> =
            cells.map(|(cell, width)| pieces(&printable(cell, WIDEST_CELL), *width)).collect();
        let lines = cells.iter().map(Vec::len).max().unwrap_or(1);
        let line = |number: usize| {
            let padded = cells.iter().enumerate().map(|(column, pieces)| {
                let text = pieces.get(number).map_or("", String::as_str);
                let space = (self.widths[column] + 2).saturating_sub(text.chars().count());
                format!("{}{}", paint(column, text), " ".repeat(if column + 1 == cells.len() { 0 } else { space }))
            });
            padded.collect::<String>().trim_end().to_owned()
        };
        (0..lines).map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A cell in lines of that width, broken after a dash or a dot where there is one in the second half.
fn pieces(cell: &str, width: usize) -> Vec<String> {
    let mut rest: Vec<char> = cell.chars().collect();
    let mut pieces = Vec::new();
    while rest.len() > width {
        let seam =
            rest[..width].iter().rposition(|c| "-. /".contains(*c)).map(|at| at + 1).filter(|at| *at > width / 2);
        let tail = rest.split_off(seam.unwrap_or(width));
        pieces.push(rest.into_iter().collect::<String>().trim_end().to_owned());
        rest = tail;
    }
    pieces.push(rest.into_iter().collect());
    pieces
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

    fn table(header: &[&str], rows: &[Vec<String>], place: usize, paint: impl Fn(usize, &str) -> String) -> String {
        let columns = Columns::of(header, rows, place);
        let head: Vec<String> = header.iter().map(|title| (*title).to_owned()).collect();
        let head = columns.row(&head, |_, title| title.to_owned());
        let body = rows.iter().map(|row| columns.row(row, &paint));
        std::iter::once(head).chain(body).collect::<Vec<_>>().join("\n")
    }

    fn at(seconds: i64) -> Time {
        Time::from_unix(1_763_720_000 + seconds)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows =
            [vec!["a".to_owned(), "wide cell".into(), "x".into()], vec!["longer".into(), "é".into(), String::new()]];
        let text = table(&["NAME", "B", "C"], &rows, usize::MAX, |_, text| text.to_owned());
        assert_eq!(text, "NAME    B          C\na       wide cell  x\nlonger  é");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let rows = [vec!["a".to_owned(), "b".into()], vec!["ccc".into(), "d".into()]];
        let text = table(
            &["X", "Y"],
            &rows,
            usize::MAX,
            |column, text| if column == 0 { format!("<{text}>") } else { text.into() },
        );
        assert_eq!(text, "X    Y\n<a>    b\n<ccc>  d");
    }

    #[test]
    fn table_fits_its_place_and_nothing_is_cut() {
        let name = "a-very-long-name-of-a-credential-for-some-product.of.the.team";
        let row = [name, "team-with-a-long-name-in-production", "True", "RefreshTokenRejected", name];
        let rows = [row.map(str::to_owned).to_vec()];
        let header = ["NAME", "NAMESPACE", "READY", "RENEWABLE", "SECRET"];
        let text = table(&header, &rows, 80, |_, text| text.to_owned());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let columns: Vec<usize> = header.iter().map(|title| text.find(title).unwrap()).chain([usize::MAX]).collect();
        for (column, cell) in row.iter().enumerate() {
            let piece = |line: &str| {
                let cells = line.chars().skip(columns[column]).take(columns[column + 1] - columns[column]);
                cells.collect::<String>().trim().to_owned()
            };
            assert_eq!(text.lines().skip(1).map(piece).collect::<String>(), *cell, "{text}");
        }
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
