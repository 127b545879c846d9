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
