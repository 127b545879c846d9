//! Builds programs of a cluster unless they are there, with progress on standard error, and prints their folder.
//!
//! `cluster-programs control-plane kubectl helm node`; with no name, what the demo needs.

use std::env;
use std::io::{self, Write};

use anyhow::{Context, Result};
use cluster_programs::{Program, locate_or_build};

fn main() -> Result<()> {
    let mut wanted: Vec<Program> = env::args()
        .skip(1)
        .map(|name| {
            Program::named(&name).with_context(|| format!("{name} is none of control-plane, kubectl, helm, node"))
        })
        .collect::<Result<_>>()?;
    if wanted.is_empty() {
        wanted.extend(Program::OF_DEMO);
    }
    let folder = locate_or_build(&wanted, |line| drop(writeln!(io::stderr(), "{line}")))?;
    writeln!(io::stdout(), "{}", folder.display()).context("print the folder")
}
