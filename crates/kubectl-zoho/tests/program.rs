//! The program itself: what it says without a cluster. That it is tested here also has it built for the tests that need
//! one.

use std::process::Command;

#[test]
fn help_and_version_need_no_cluster_and_a_wrong_flag_is_wrong_usage() {
    let run = |argument: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-zoho")).arg(argument).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    let (code, help) = run("--help");
    assert!(code == Some(0) && help.contains("kubectl zoho"), "{help}");
    let (code, version) = run("--version");
    assert!(code == Some(0) && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    assert_eq!(run("--no-such-flag").0, Some(2));
}

#[cfg(target_os = "linux")]
#[test]
fn result_that_could_not_be_written_is_a_failure_and_a_reader_that_has_seen_enough_is_not() {
    use std::fs::OpenOptions;
    use std::process::Stdio;
    let script = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-zoho"));
        command.args(["completion", "bash"]).stderr(Stdio::piped());
        command
    };
    let full = OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let output = script().stdout(full).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("print the result: No space left on device"), "{said}");

    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = script().stdout(writer).output().expect("it runs");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
