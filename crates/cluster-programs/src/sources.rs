//! What the sources say: a name for their state, and the versions in `go.mod`, so that these are written down once.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The Go module.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) folder: PathBuf,
    /// A name for the state of the sources, short enough for a path.
    pub(crate) hash: String,
    pub(crate) versions: Versions,
}

impl Sources {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        walk(folder, &mut files)?;
        files.sort();
        let mut hash = Sha256::new();
        for path in &files {
            hash.update(fs::read(path).with_context(|| format!("read {}", path.display()))?);
            hash.update([0]);
        }
        let hash = hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
            // Into a String, this cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let go_mod = folder.join("go.mod");
        let versions =
            Versions::parse(&fs::read_to_string(&go_mod).with_context(|| format!("read {}", go_mod.display()))?)?;
        Ok(Self { folder: folder.to_owned(), hash, versions })
    }
}

/// What the programs are made of: Go files, `go.mod`, `go.sum`.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.context("list a folder")?.path();
        let is_source = path.extension().is_some_and(|end| ["go", "mod", "sum"].iter().any(|source| end == *source));
        if path.is_dir() {
            walk(&path, files)?;
        } else if is_source {
            files.push(path);
        }
    }
    Ok(())
}

/// Versions in `go.mod`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Oldest Go that builds the module, like `1.26.0`.
    pub(crate) go: String,
    /// Kubernetes, like `v1.36.3`.
    pub(crate) kubernetes: String,
    /// Helm, like `v4.2.4`.
    pub(crate) helm: String,
}

impl Versions {
    fn parse(text: &str) -> Result<Self> {
        let version_of = |module: &str| {
            text.lines()
                .map(str::trim)
                .filter(|line| !line.contains("=>"))
                .find_map(|line| line.strip_prefix(module)?.strip_prefix(' '))
                .and_then(|rest| rest.split_whitespace().next())
                .map(str::to_owned)
                .with_context(|| format!("go.mod has no line for {module}"))
        };
        Ok(Self {
            go: version_of("go")?,
            kubernetes: version_of("k8s.io/kubernetes")?,
            helm: version_of("helm.sh/helm/v4")?,
        })
    }

    /// Without these the programs report development versions, and clients draw conclusions from that.
    pub(crate) fn linker_flags(&self) -> String {
        let numbers: Vec<&str> = self.kubernetes.trim_start_matches('v').split('.').collect();
        let (major, minor) = (numbers.first().unwrap_or(&""), numbers.get(1).unwrap_or(&""));
        let package = "k8s.io/component-base/version";
        format!(
            "-s -w -X {package}.gitVersion={} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
             -X helm.sh/helm/v4/internal/version.version={}",
            self.kubernetes, self.helm
        )
    }
}

/// Compares `go1.26.8` with `1.26.0`, by numbers. What follows a number (`rc1`, `-custom`) counts for nothing.
pub(crate) fn is_at_least(found: &str, needed: &str) -> bool {
    let numbers = |version: &str| -> Vec<u32> {
        version
            .trim_start_matches("go")
            .split('.')
            .map(|part| part.chars().take_while(char::is_ascii_digit).collect::<String>())
            .map_while(|digits| digits.parse().ok())
            .collect()
    };
    let (found, needed) = (numbers(found), numbers(needed));
    !found.is_empty() && found >= needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_by_number() {
        for (found, needed, expected) in [
            ("go1.26.0", "1.26.0", true),
            ("go1.26.8", "1.26.0", true),
            ("go1.100.0", "1.26.0", true),
            ("go1.27", "1.26.0", true),
            ("go2.0", "1.26.0", true),
            ("go1.26rc1", "1.26.0", false),
            ("go1.9.7", "1.26.0", false),
            ("go1.25.9", "1.26.0", false),
            ("devel", "1.26.0", false),
            ("", "1.26.0", false),
        ] {
            assert_eq!(is_at_least(found, needed), expected, "{found} for {needed}");
        }
    }

    #[test]
    fn versions_are_read_out_of_go_mod() {
        let text = "module m\n\ngo 1.26.0\n\nrequire (\n\thelm.sh/helm/v4 v4.2.4\n\tk8s.io/kubernetes v1.36.3 // indirect\n)\n\
                    replace (\n\tk8s.io/kubernetes => ../kubernetes\n)\n";
        let parsed = Versions::parse(text).expect("complete");
        assert_eq!(parsed, Versions { go: "1.26.0".into(), kubernetes: "v1.36.3".into(), helm: "v4.2.4".into() });
        assert!(parsed.linker_flags().contains("version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36 "));
    }

    #[test]
    fn a_module_without_kubernetes_is_an_error() {
        let error = Versions::parse("module m\ngo 1.26.0\n").expect_err("incomplete");
        assert_eq!(error.to_string(), "go.mod has no line for k8s.io/kubernetes");
    }

    #[test]
    fn another_state_of_the_sources_has_another_name() {
        let folder = std::env::temp_dir().join(format!("cluster-programs-{}", std::process::id()));
        let go_mod = "module m\ngo 1.26.0\nrequire (\n\thelm.sh/helm/v4 v4.2.4\n\tk8s.io/kubernetes v1.36.3\n)\n";
        fs::create_dir_all(folder.join("part")).expect("created");
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("written");
        write("go.mod", go_mod);
        write("part/main.go", "package main");
        let hash = || Sources::read(&folder).expect("readable").hash;
        let before = hash();
        assert_eq!(before.len(), 16);
        write("README.md", "for people");
        assert_eq!(hash(), before, "what is not built does not matter");
        write("part/main.go", "package main // changed");
        assert_ne!(hash(), before);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
