//! How the demo looks. Everything goes to standard output.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Widest line of text, in characters; what kubectl prints is left as it is.
const WIDTH: usize = 110;
/// The same for what is printed by [`Screen::output`].
pub(super) const OUTPUT_WIDTH: usize = WIDTH - OUTPUT.len();
/// Before the demo's own sentences.
const TEXT: &str = "   ";
/// Before what other programs print.
const OUTPUT: &str = "     ";

/// A way to show a piece of text on a terminal, as an SGR parameter.
#[derive(Clone, Copy)]
enum Style {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Cyan = 36,
}

/// Where the demo prints.
#[derive(Debug)]
pub(super) struct Screen {
    colour: bool,
    terminal: bool,
    step: Cell<usize>,
    title: Cell<&'static str>,
    /// A line that is still being written over.
    live: Cell<bool>,
}

impl Screen {
    pub(super) fn new(terminal: bool, colour: bool) -> Self {
        Self {
            colour: colour && terminal,
            terminal,
            step: Cell::new(0),
            title: Cell::new("Preparation"),
            live: Cell::new(false),
        }
    }

    /// The headline.
    pub(super) fn headline(&self, text: &str) {
        self.line(&format!("\n{}", self.styled(Style::Bold, text)));
    }

    /// A new step, numbered.
    pub(super) fn step(&self, title: &'static str) {
        self.step.set(self.step.get() + 1);
        self.title.set(title);
        self.line(&format!("\n{}", self.styled(Style::Bold, &format!("{:>2}. {title}", self.step.get()))));
    }

    /// A sentence or two.
    pub(super) fn say(&self, text: &str) {
        for line in wrapped(text, WIDTH - TEXT.len()) {
            self.line(&format!("{TEXT}{line}"));
        }
    }

    /// Something has come true.
    pub(super) fn done(&self, text: &str) {
        let mut mark = self.styled(Style::Green, "✓");
        for line in wrapped(text, WIDTH - TEXT.len() - 2) {
            self.line(&format!("{TEXT}{mark} {line}"));
            mark = " ".into();
        }
    }

    /// A command that is run, as a person would type it.
    pub(super) fn command(&self, text: &str) {
        self.line(&format!("{TEXT}{}", self.styled(Style::Cyan, &format!("$ {text}"))));
    }

    /// What a program printed.
    pub(super) fn output(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.line(format!("{OUTPUT}{line}").trim_end());
        }
    }

    /// Like [`Screen::output`], but long values are broken into lines below where they begin.
    pub(super) fn fields(&self, fields: &[(String, String)]) {
        let widest = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in fields {
            let mut name = name.as_str();
            for line in wrapped(value, OUTPUT_WIDTH - widest - 2) {
                self.line(format!("{OUTPUT}{name:widest$}  {line}").trim_end());
                name = "";
            }
        }
    }

    /// A line that the next one writes over, on a terminal only.
    pub(super) fn meanwhile(&self, text: &str) {
        if self.terminal {
            let shown: String = text.chars().take(WIDTH - TEXT.len()).collect();
            // Whoever closed our output does not miss it.
            let _ = write!(io::stdout(), "\r{TEXT}{}\x1b[K", self.styled(Style::Dim, &shown));
            let _ = io::stdout().flush();
            self.live.set(true);
        }
    }

    /// The step at hand did not go as it should.
    pub(super) fn failure(&self, problem: &str, log: &str) {
        let step = format!("✗ Step {} ({}) failed.", self.step.get(), self.title.get());
        self.line(&format!("\n{TEXT}{}", self.styled(Style::Red, &step)));
        self.output(problem);
        if !log.is_empty() {
            self.say("The operator's last lines:");
            self.output(log);
        }
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", style as u8) } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        let mut out = String::new();
        if self.live.take() {
            out.push_str("\r\x1b[K");
        }
        let _ = writeln!(out, "{text}");
        // Whoever closed our output does not miss it.
        let _ = io::stdout().write_all(out.as_bytes());
    }
}

/// Breaks a text at its spaces. At least one line; a word that is too long has one of its own.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is a first line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_spaces_only() {
        assert_eq!(wrapped("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrapped("abcdef g", 4), ["abcdef", "g"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
