//! The documentation site: what mdBook needs in `target/site/src`, and whether the links of what it made lead somewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, ensure};

/// Where mdBook reads, as book.toml says.
const SOURCES: &str = "target/site/src";
/// Where it writes.
const BOOK: &str = "target/site/book";

/// What the site has, in the folders of the repository, so that links between pages hold.
const STAGED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "docs",
    "examples",
    "tests/e2e/README.md",
    "charts/zoho-operator/README.md",
    "charts/zoho-operator/values.yaml",
];

/// Copies the pages, and makes the table of contents from the index in docs/README.md.
pub(crate) fn stage() -> anyhow::Result<()> {
    if Path::new(SOURCES).exists() {
        fs::remove_dir_all(SOURCES).context("empty the folder of the site")?;
    }
    for path in STAGED {
        copy(Path::new(path))?;
    }
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
    let summary = summary(&read("docs/README.md")?, &read("docs/decisions/README.md")?);
    crate::write(Path::new(SOURCES).join("SUMMARY.md"), &summary)
}

fn copy(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            copy(&entry?.path())?;
        }
        return Ok(());
    }
    let to = Path::new(SOURCES).join(path);
    let copied = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(path, &to));
    copied.map(drop).with_context(|| format!("copy {}", path.display()))
}

/// The table of contents: the headings and lists of the index, and the records below their own index.
fn summary(index: &str, decisions: &str) -> String {
    let mut text = "# Summary\n\n[Quick start](README.md)\n\n[All pages](docs/README.md)\n".to_owned();
    for line in index.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let _ = write!(text, "\n# {heading}\n\n");
        }
        let Some((title, target)) = line.strip_prefix("- ").and_then(link) else { continue };
        let target = plain(&Path::new("docs").join(target));
        let _ = writeln!(text, "- [{title}]({})", target.display());
        if target.ends_with("decisions/README.md") {
            let records = decisions.lines().filter_map(|line| line.strip_prefix("| ").and_then(link));
            for ((number, record), row) in records.zip(decisions.lines().filter(|line| line.starts_with("| ["))) {
                let title = row.rsplit(" | ").next().unwrap_or_default().trim_end_matches(" |");
                let _ = writeln!(text, "  - [{number}. {title}](docs/decisions/{record})");
            }
        }
    }
    text
}

/// Title and target of a link at the start of a text.
fn link(text: &str) -> Option<(&str, &str)> {
    let (title, rest) = text.strip_prefix('[')?.split_once("](")?;
    Some((title, rest.split_once(')')?.0))
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => parts.push(part),
        }
    }
    parts
}

/// Looks at every link of the site that mdBook made.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut pages = Vec::new();
    html_below(Path::new(BOOK), &mut pages)?;
    let mut broken = BTreeSet::new();
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        for target in attributes(&text, " href=\"").filter(|target| is_local(target)) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = page.parent().unwrap_or(Path::new(BOOK));
            let file = if file.is_empty() { page.clone() } else { plain(&folder.join(file)) };
            let has = |anchor: &str| {
                let text = fs::read_to_string(&file).unwrap_or_default();
                attributes(&text, " id=\"").any(|id| id == anchor)
            };
            if !file.is_file() || !(anchor.is_empty() || has(anchor)) {
                broken.insert(format!("{}: {target}", page.display()));
            }
        }
    }
    ensure!(!pages.is_empty(), "{BOOK} has no pages: run make site");
    let list: Vec<String> = broken.into_iter().collect();
    ensure!(list.is_empty(), "links of the site that lead nowhere:\n{}", list.join("\n"));
    Ok(())
}

fn is_local(target: &str) -> bool {
    !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
}

fn html_below(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let is_page = path.extension().is_some_and(|end| end == "html");
        // Of no place in the site, so that its links begin at the site's root; and a print of all pages.
        let is_special =
            path.file_name().is_some_and(|name| name == "404.html" || name == "print.html" || name == "toc.html");
        if path.is_dir() {
            html_below(&path, found)?;
        } else if is_page && !is_special {
            found.push(path);
        }
    }
    Ok(())
}

fn attributes<'a>(html: &'a str, begin: &'a str) -> impl Iterator<Item = &'a str> {
    html.split(begin).skip(1).filter_map(|rest| rest.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_contents_has_every_page_of_the_index_and_every_record() {
        let index = "# Docs\n\n## Use\n\n- [FAQ](faq.md): answers.\n- [Chart](../charts/x/README.md): values.\n\n## Understand\n\n- [Decisions](decisions/README.md): records.\n";
        let decisions = "| | decision |\n|---|---|\n| [1](0001-own.md) | A queue of our own |\n";
        let expected = "# Summary\n\n[Quick start](README.md)\n\n[All pages](docs/README.md)\n\n# Use\n\n- [FAQ](docs/faq.md)\n- [Chart](charts/x/README.md)\n\n# Understand\n\n- [Decisions](docs/decisions/README.md)\n  - [1. A queue of our own](docs/decisions/0001-own.md)\n";
        assert_eq!(summary(index, decisions), expected);
    }

    #[test]
    fn links_are_read_out_of_html() {
        let html = r#"<a href="a.html#b">x</a> <h2 id="b">"#;
        assert_eq!(attributes(html, " href=\"").collect::<Vec<_>>(), ["a.html#b"]);
        assert_eq!(attributes(html, " id=\"").collect::<Vec<_>>(), ["b"]);
        assert!(!is_local("https://zoho.com") && is_local("a.html"));
    }
}
