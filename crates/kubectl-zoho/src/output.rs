//! What the caller gets to see: the one place that prints. Standard output is for results, standard error for the rest.

use std::io::{self, IsTerminal, Write};

use super::render;

/// Longer lines are hard to read.
const WIDEST: usize = 110;

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
        terminal.map_or(usize::MAX, |width| width.min(WIDEST))
    }

    /// The text in a colour, where colours are wanted.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Odd => "33",
            Paint::Faint => "2",
            Paint::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A result: a line or several.
    pub(crate) fn result(&self, text: &str) {
        // A reader that has seen enough closes the pipe.
        let _ = writeln!(io::stdout().lock(), "{text}");
    }

    /// A result in sentences: broken between words on a terminal.
    pub(crate) fn say(&self, text: &str) {
        self.result(&self.broken(text));
    }

    fn broken(&self, text: &str) -> String {
        render::wrap(text, self.width()).join("\n")
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
        let _ = writeln!(io::stderr().lock(), "{}", self.broken(text));
    }

    /// Why a command failed.
    pub(crate) fn error(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", self.broken(&format!("kubectl zoho: {text}")));
    }

    /// One line that replaces the one before, on a terminal; nothing elsewhere.
    pub(crate) fn progress(&self, text: &str) {
        if self.progress {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\u{1b}[K{text}");
            let _ = stderr.flush();
        }
    }

    /// Takes the progress line away.
    pub(crate) fn progress_ends(&self) {
        self.progress("");
    }
}
