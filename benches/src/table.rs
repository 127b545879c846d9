//! What is printed: Markdown, so that it can stand in the documentation as it is.

use std::time::Duration;

/// A table whose rows are shown as they come.
pub(crate) struct Table {
    columns: usize,
}

impl Table {
    pub(crate) fn begin(title: &str, columns: &[&str]) -> Self {
        show(&format!("\n### {title}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len())));
        Self { columns: columns.len() }
    }

    pub(crate) fn row(&self, cells: &[String]) {
        debug_assert_eq!(cells.len(), self.columns, "a cell for each column");
        show(&format!("| {} |", cells.join(" | ")));
    }
}

/// A line of the result.
#[expect(clippy::print_stdout, reason = "the figures are what the program is for")]
pub(crate) fn show(text: &str) {
    println!("{text}");
}

/// A line for whoever waits.
#[expect(clippy::print_stderr, reason = "not part of the result")]
pub(crate) fn progress(text: &str) {
    eprintln!("… {text}");
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// On what machine, and what else it does.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    format!("{processors} × {}; load {load}", model.trim_start_matches(['\t', ' ', ':']))
}
