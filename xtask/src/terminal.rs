//! Draws a part of what `make demo` printed, as a terminal shows it: docs/img/demo.svg.

use std::fmt::Write as _;

use crate::picture::escaped;

/// The steps that are drawn, by their titles. The rest is left out, and so is what `kubectl describe` prints: too long for
/// a first look.
const STEPS: [&str; 2] = ["One object in, one Secret out", "Renewal, long before the token expires"];
const LEFT_OUT: &str = "$ kubectl describe ";

/// Size of the text, and what one character and one line take of it.
const FONT: usize = 13;
const CHARACTER: f64 = 7.83;
const LINE: usize = 18;
/// Around the text.
const MARGIN: usize = 18;
/// Above the first line, for the command.
const HEAD: usize = 48;

/// The picture of a run, from what it printed without colours.
pub(crate) fn draw(printed: &str) -> String {
    let lines = excerpt(printed);
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let margin = f64::from(u32::try_from(2 * MARGIN).expect("small"));
    let width = f64::from(u32::try_from(widest).expect("lines are short")) * CHARACTER + margin;
    let height = HEAD + lines.len() * LINE + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height}\" font-size=\"{FONT}\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\">\n\
         <title>A part of what make demo prints, drawn by make demo-picture</title>\n\
         <rect width=\"{width:.0}\" height=\"{height}\" rx=\"8\" fill=\"#0d1117\"/>\n\
         <text x=\"{MARGIN}\" y=\"30\" fill=\"#79c0ff\">$ make demo</text>\n\
         <g fill=\"#c9d1d9\">\n"
    );
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let y = HEAD + number * LINE + FONT;
        let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\"{}>{}</text>", style(line), marked(line));
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// The lines that are drawn, with `…` for the steps between them.
fn excerpt(printed: &str) -> Vec<String> {
    let (mut lines, mut is_drawn, mut is_left_out) = (Vec::new(), false, false);
    for line in printed.lines() {
        if let Some(title) = title(line) {
            if lines.is_empty() || is_drawn {
                lines.extend(["    …".to_owned(), String::new()]);
            }
            (is_drawn, is_left_out) = (STEPS.contains(&title), false);
        }
        // Output is indented further than the demo's own lines.
        is_left_out = line.trim_start().starts_with(LEFT_OUT) || is_left_out && line.starts_with("     ");
        if is_drawn && !is_left_out {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// The title of a step that begins in this line: ` 4. One object in, one Secret out`.
fn title(line: &str) -> Option<&str> {
    let (number, title) = line.trim_start().split_once(". ")?;
    (line.len() - line.trim_start().len() <= 1 && number.parse::<u8>().is_ok()).then_some(title)
}

fn style(line: &str) -> &'static str {
    match line.trim_start() {
        "…" => " fill=\"#8b949e\"",
        text if text.starts_with("$ ") => " fill=\"#79c0ff\"",
        _ if title(line).is_some() => " font-weight=\"bold\" fill=\"#f0f6fc\"",
        _ => "",
    }
}

/// The text of a line, with its check mark in green. Viewers of pictures draw several blanks as one, but for these.
fn marked(line: &str) -> String {
    let text = escaped(line).replace(' ', "\u{a0}");
    text.replacen('✓', "<tspan fill=\"#56d364\">✓</tspan>", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "
zoho-operator: one in, one out

 1. A Kubernetes control plane
   ✓ Kubernetes (2 s).

 4. One object in, one Secret out
   $ kubectl describe zcred
     Conditions:
   And <this>:
     a  b
   ✓ Ready.

 5. Somebody deletes the Secret
   ✓ Back.

10. Renewal, long before the token expires
   $ kubectl get zcred
";

    #[test]
    fn chosen_steps_are_drawn_without_what_is_too_long() {
        let expected = [
            "    …",
            "",
            " 4. One object in, one Secret out",
            "   And <this>:",
            "     a  b",
            "   ✓ Ready.",
            "",
            "    …",
            "",
            "10. Renewal, long before the token expires",
            "   $ kubectl get zcred",
        ];
        assert_eq!(excerpt(PRINTED), expected);
    }

    #[test]
    fn text_is_escaped_and_keeps_its_blanks() {
        let svg = draw(PRINTED);
        let svg = svg.replace('\u{a0}', "_");
        assert!(svg.contains(">___And_&lt;this&gt;:</text>") && svg.contains(">_____a__b</text>"), "{svg}");
    }
}
