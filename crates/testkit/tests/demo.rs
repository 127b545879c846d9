//! The demo's program: what it says without doing anything. That it is tested here also has it built for the tests that
//! run it.

use std::process::Command;

#[test]
fn help_says_what_it_shows() {
    let output = Command::new(env!("CARGO_BIN_EXE_zoho-demo")).arg("--help").output().expect("it runs");
    let help = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && help.contains("KUBECONFIG"), "{help}");
}
