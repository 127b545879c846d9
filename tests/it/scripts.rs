//! The scripts behind `make test`, `make e2e`, `make deny` and `make mutants` hide nothing: what fails fails, and what they leave out they
//! say, and in CI that is a failure.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::chart::root;

/// What the scripts themselves need, and nothing of what they look for.
const TOOLS: [&str; 16] = [
    "sh", "bash", "dirname", "mktemp", "mkdir", "rm", "touch", "wc", "tee", "sed", "sort", "head", "tail", "awk",
    "uname", "id",
];

/// A machine that has `TOOLS`, and programs that a test writes.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for tool in TOOLS.into_iter().chain(["xargs"]) {
            let found =
                ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool)).into_iter().find(|path| path.exists());
            symlink(found.expect(tool), folder.path().join(tool)).expect("linked");
        }
        Self { folder }
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
    }

    fn run(&self, script: &str, arguments: &[&str], ci: bool) -> Output {
        let mut command = Command::new(root().join(script));
        command.args(arguments).env_clear().env("PATH", self.folder.path()).env("NOT_TESTED", self.list());
        if ci {
            command.env("CI", "true");
        }
        command.output().expect("it runs")
    }

    fn list(&self) -> std::path::PathBuf {
        self.folder.path().join("not-tested")
    }

    fn left_out(&self) -> String {
        fs::read_to_string(self.list()).unwrap_or_default()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn what_cannot_run_is_listed_and_fails_in_ci() {
    for (script, what) in [("tests/e2e/run.sh", "make e2e"), ("tests/deny", "make deny")] {
        let machine = Machine::new();
        machine.program("unshare", "exit 0");
        machine.program("cargo", "exit 1");
        let elsewhere = machine.run(script, &[], false);
        assert!(elsewhere.status.success(), "{script}: {}", text(&elsewhere));
        assert!(text(&elsewhere).contains("NOT RUN: "), "{script}: {}", text(&elsewhere));
        assert!(machine.left_out().contains(what), "{script}: {}", machine.left_out());
        let in_ci = machine.run(script, &[], true);
        assert!(!in_ci.status.success(), "{script}: {}", text(&in_ci));
    }
}

/// Twelve tests, one of them ignored, and one that adds a line to the list.
const HARNESS: &str = r#"
echo "the other part: it is not there" >>"$NOT_TESTED"
for n in 1 2 3 4 5 6 7 8 9 10 11; do echo "test part::number_$n ... ok <$n.500s>"; done
echo "test long ... ignored, takes minutes"
echo "test result: ok. 11 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 12.00s"
echo "test other ... FAILED <0.100s>"
echo "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s"
exit 101"#;

#[test]
fn a_run_of_the_tests_ends_with_the_slowest_and_what_was_left_out() {
    let machine = Machine::new();
    machine.program("cargo", HARNESS);
    fs::write(machine.list(), "an earlier step: left this out\n").expect("written");
    let output = machine.run("tests/run", &["cargo", "test"], false);
    assert_eq!(output.status.code(), Some(101), "the tests' own exit code");
    let said = text(&output);
    let end = said.split("The ten slowest tests:\n").nth(1).unwrap_or_else(|| panic!("{said}"));
    let slowest: Vec<String> = (2..=11).rev().map(|n| format!("  {n:5}.5 s  part::number_{n}\n")).collect();
    let expected = slowest.concat()
        + "Not tested here:\n  the other part: it is not there\ntotal: 13 passed, 1 failed, 1 skipped\n";
    assert_eq!(end, expected);
}

/// A cargo that builds one program, wherever it likes, and is told so by its arguments.
fn cargo_that_builds(machine: &Machine, program: &str) {
    let path = machine.folder.path().join(program);
    let message = format!(r#"{{"reason":"compiler-artifact","executable":"{}"}}"#, path.display());
    let script = format!(
        "[ \"$1\" = build ] || exit 9\ncase \" $* \" in *' --message-format=json-render-diagnostics '*) echo '{message}';; esac"
    );
    machine.program("cargo", &script);
}

#[test]
fn program_is_found_wherever_cargo_put_it_and_one_that_is_not_built_is_said() {
    let machine = Machine::new();
    cargo_that_builds(&machine, "zoho-demo");
    let found = machine.run("tests/built", &["zoho-demo", "cargo", "build", "-p", "a", "-p", "b"], false);
    assert_eq!(text(&found), format!("{}\n", machine.folder.path().join("zoho-demo").display()));
    let other = machine.run("tests/built", &["other", "cargo", "build"], false);
    assert!(!other.status.success());
    assert!(text(&other).contains("does not build other"), "{}", text(&other));
}

#[test]
fn programs_of_a_cluster_are_built_while_the_command_is_at_work() {
    let machine = Machine::new();
    cargo_that_builds(&machine, "cluster-programs");
    let begun = machine.folder.path().join("begun");
    machine.program("cluster-programs", &format!("echo \"$@\" >'{}'", begun.display()));
    machine.program("sleep", "exec /bin/sleep \"$@\"");
    // Ends well only if the other one has begun meanwhile.
    let command = format!(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e '{}' ] && exit 0; sleep 1; done; exit 7",
        begun.display()
    );
    let output = machine.run("tests/beside", &["control-plane helm", "sh", "-c", &command], false);
    assert!(output.status.success(), "{:?}: {}", output.status, text(&output));
    assert_eq!(fs::read_to_string(&begun).expect("it began"), "control-plane helm\n");
    let failed = machine.run("tests/beside", &["helm", "sh", "-c", "exit 3"], false);
    assert_eq!(failed.status.code(), Some(3), "the command's own exit code");
}

#[test]
fn what_the_harness_is_asked_for_stays_behind_what_cargo_is_asked_for() {
    let machine = Machine::new();
    machine.program("cargo", r#"echo "asked for: $*""#);
    let output = machine.run("tests/run", &["cargo", "test", "--", "--ignored"], false);
    let said = text(&output);
    let asked = said.lines().find(|line| line.starts_with("asked for: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(asked.starts_with("asked for: --config target") && asked.ends_with(" test -- --ignored"), "{asked}");
}

/// Says how many changes were caught, missed, too slow and not compiled.
fn mutants(counts: [usize; 4], ends_with: u8) -> (Machine, Output) {
    let machine = Machine::new();
    let [caught, missed, timeout, unviable] = counts;
    let lists = [("caught", caught), ("missed", missed), ("timeout", timeout), ("unviable", unviable)];
    let lists = lists.map(|(list, count)| {
        let lines = (0..count).map(|number| format!("src/a.rs:{number}: {list}\\n")).collect::<Vec<_>>().concat();
        format!("printf '{lines}' >\"$5/mutants.out/{list}.txt\"")
    });
    let script = format!("mkdir -p \"$5/mutants.out\"\n{}\nexit {ends_with}", lists.join("\n"));
    machine.program("fake-mutants", &script);
    let (program, out) = (machine.folder.path().join("fake-mutants"), machine.folder.path().join("found"));
    let arguments = [&program, Path::new(""), &out].map(|path| path.to_str().expect("text"));
    let output = machine.run("tests/mutants", &arguments, false);
    (machine, output)
}

#[test]
fn one_change_in_ten_may_be_missed_and_is_named_and_a_run_that_did_nothing_fails() {
    let (_machine, enough) = mutants([8, 1, 1, 2], 2);
    assert!(enough.status.success(), "{}", text(&enough));
    assert!(
        text(&enough).contains("caught 9 of 10 (90 %), 1 of them because the tests took too long; 2 did not compile")
    );
    assert!(text(&enough).contains("  src/a.rs:0: missed"), "{}", text(&enough));
    for (counts, ends_with, why) in [
        ([8, 2, 0, 0], 2, "fewer than nine of ten were caught"),
        ([0, 0, 0, 3], 0, "nothing was changed"),
        ([9, 0, 0, 0], 4, "cargo-mutants ended with 4"),
    ] {
        let (_machine, output) = mutants(counts, ends_with);
        assert!(!output.status.success() && text(&output).contains(why), "{}", text(&output));
    }
}
