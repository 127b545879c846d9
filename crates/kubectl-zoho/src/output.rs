//! What the caller gets to see: the one place that prints. Standard output is for results, standard error for the rest.
//!
//! Names and messages are chosen by others. Whatever they hold, nothing reaches the terminal that it would obey, but for
//! the colours that are put in here: see [`zoho_core::text`]. Documents for programs and secrets go out as they are.

use std::io::{self, IsTerminal, Write};

use super::render;
use zoho_core::text::{printable, printable_lines};

/// Longer lines are hard to read.
const WIDEST: usize = 80;

/// Writes to the caller's terminal, pipe or file.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    colour: bool,
    progress: bool,
}

/// A colour that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Worth a look.
    Odd,
    /// Less important.
    Faint,
    /// More important.
    Strong,
}

/// Where a colour ends. Marks are characters that Unicode promises never to assign; from anybody else they would be no more
/// than a colour.
const PLAIN: char = '\u{fdd0}';

impl Paint {
    const ALL: [Self; 5] = [Self::Good, Self::Bad, Self::Odd, Self::Faint, Self::Strong];

    fn mark(self) -> char {
        match self {
            Self::Good => '\u{fdd1}',
            Self::Bad => '\u{fdd2}',
            Self::Odd => '\u{fdd3}',
            Self::Faint => '\u{fdd4}',
            Self::Strong => '\u{fdd5}',
        }
    }

    fn of(mark: char) -> Option<Self> {
        Self::ALL.into_iter().find(|paint| paint.mark() == mark)
    }

    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Odd => "33",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

#[expect(clippy::unused_self, reason = "who writes has been handed the output")]
impl Output {
    /// `no_color`: the value of `NO_COLOR`; any but the empty one turns colours off.
    pub(crate) fn new(no_color: Option<&str>) -> Self {
        let wanted = no_color.is_none_or(str::is_empty);
        Self { colour: wanted && io::stdout().is_terminal(), progress: io::stderr().is_terminal() }
    }

    /// Is there a person in front of standard output?
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Where lines break: on a terminal at its edge, or earlier where that reads better; nowhere else.
    pub(crate) fn width(&self) -> usize {
        let terminal = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        width_of_prose(terminal)
    }

    /// The text in a colour, where colours are wanted: between two marks, until it is printed.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        format!("{}{text}{PLAIN}", paint.mark())
    }

    /// A result: a line or several.
    ///
    /// # Errors
    ///
    /// A full disk.
    pub(crate) fn result(&self, text: &str) -> anyhow::Result<()> {
        self.document(&self.shown(text))
    }

    /// A result for programs, in a form of its own: JSON, YAML, a script.
    ///
    /// # Errors
    ///
    /// A full disk.
    pub(crate) fn document(&self, text: &str) -> anyhow::Result<()> {
        printed(text).map(drop)
    }

    /// A part of a result that goes on. Does anybody still read it?
    ///
    /// # Errors
    ///
    /// A full disk.
    pub(crate) fn is_read(&self, text: &str) -> anyhow::Result<bool> {
        printed(&self.shown(text))
    }

    /// A result in sentences: broken between words on a terminal.
    ///
    /// # Errors
    ///
    /// A full disk.
    pub(crate) fn say(&self, text: &str) -> anyhow::Result<()> {
        self.result(&render::wrap(text, self.width()).join("\n"))
    }

    /// As it goes out: colours instead of their marks, and nothing else that a terminal would obey.
    fn shown(&self, text: &str) -> String {
        let is_mark = |c: char| Paint::of(c).is_some() || c == PLAIN;
        let pieces = text.split_inclusive(is_mark).map(|piece| {
            let mark = piece.chars().next_back().filter(|c| is_mark(*c));
            let words = printable_lines(mark.map_or(piece, |mark| &piece[..piece.len() - mark.len_utf8()]));
            let code = match mark.map(Paint::of).filter(|_| self.colour) {
                Some(Some(paint)) => format!("\u{1b}[{}m", paint.code()),
                Some(None) => "\u{1b}[0m".into(),
                None => String::new(),
            };
            format!("{words}{code}")
        });
        pieces.collect()
    }

    /// A result whose bytes are secret; `secret_io` decides that they may go out.
    ///
    /// # Errors
    ///
    /// A full disk, a closed pipe: what is secret and lost has to be known.
    pub(crate) fn secret_result(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Something to know while it goes on.
    pub(crate) fn note(&self, text: &str) {
        let text = render::wrap(text, width_of_prose(columns_of_stderr())).join("\n");
        let _ = writeln!(io::stderr().lock(), "{}", self.shown(&text));
    }

    /// Why a command failed.
    pub(crate) fn error(&self, text: &str) {
        self.note(&format!("kubectl zoho: {text}"));
    }

    /// One line that replaces the one before, on a terminal; nothing elsewhere.
    pub(crate) fn progress(&self, text: &str) {
        if self.progress {
            let mut stderr = io::stderr().lock();
            // Only one row can be taken away again.
            let width = columns_of_stderr().unwrap_or(WIDEST);
            let _ = write!(stderr, "\r\u{1b}[K{}", self.shown(&printable(text, width.saturating_sub(1))));
            let _ = stderr.flush();
        }
    }

    /// Takes the progress line away.
    pub(crate) fn progress_ends(&self) {
        self.progress("");
    }
}

/// Prints a line or several. Does anybody read it?
fn printed(text: &str) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        // A reader that has seen enough closes the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("print the result")),
    }
}

/// How wide the terminal behind standard error is, if it is one.
fn columns_of_stderr() -> Option<usize> {
    terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| usize::from(width.0))
}

fn width_of_prose(terminal: Option<usize>) -> usize {
    terminal.map_or(usize::MAX, |width| width.min(WIDEST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zoho_core::text::is_plain;

    use super::*;

    fn output(colour: bool) -> Output {
        Output { colour, progress: false }
    }

    #[test]
    fn colours_are_there_where_they_are_wanted_and_nothing_else_that_a_terminal_obeys() {
        for (colour, expected) in
            [(true, "\u{1b}[31mFAIL\u{1b}[0m \\u001b[2Jname\n\u{1b}[1mb\u{1b}[0m"), (false, "FAIL \\u001b[2Jname\nb")]
        {
            let output = output(colour);
            let painted =
                format!("{} \u{1b}[2Jname\n{}", output.paint(Paint::Bad, "FAIL"), output.paint(Paint::Strong, "b"));
            assert_eq!(output.shown(&painted), expected);
        }
    }

    #[test]
    fn prose_on_a_terminal_fits_eighty_columns() {
        assert_eq!([Some(60), Some(200), None].map(width_of_prose), [60, 80, usize::MAX]);
    }

    proptest! {
        #[test]
        fn no_text_brings_more_than_colours(text in ".*|[\u{1b}\u{9b}\u{fdd0}-\u{fdd6}\u{202e}\\[0-9mJ\n]*") {
            let plain = output(false).shown(&text);
            prop_assert!(plain.chars().all(|c| c == '\n' || is_plain(c)));
            let coloured = ["32", "31", "33", "2", "1", "0"].iter().fold(output(true).shown(&text), |shown, code| {
                shown.replace(&format!("\u{1b}[{code}m"), "")
            });
            prop_assert_eq!(coloured, plain);
        }
    }
}
