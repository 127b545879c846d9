//! Child processes and files that live no longer than the process that started them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Becomes the program in `$@`, leaving a subshell behind that kills it when standard input ends.
const KILL_WITH_STDIN: &str =
    r#"exec 3<&0; (exec >/dev/null 2>&1; cat <&3; kill -KILL $$) & exec "$@" 3<&- </dev/null"#;

/// Waits for standard input to end and removes the file or folder `$1`. More than one try, since those who write in it
/// are about to end at the same moment.
const REMOVE_WITH_STDIN: &str =
    r#"cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1"; sleep 0.2; [ -e "$1" ] || exit 0; done"#;

/// A command that becomes `program` and is killed when its standard input ends, as its owner can let it, and the kernel
/// does when this process ends, in whichever way.
pub fn mortal(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", KILL_WITH_STDIN, "sh"]).arg(program);
    command
}

/// Removes a file or folder once this process has ended, in whichever way, or this is dropped. For what a static holds,
/// too, which is never dropped.
#[derive(Debug)]
pub struct Remover {
    child: Child,
}

impl Remover {
    /// Starts the shell that waits for the end of this process.
    ///
    /// # Errors
    ///
    /// When there is no shell.
    pub fn start(path: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let child = Command::new("sh")
            .args(["-c", REMOVE_WITH_STDIN, "sh"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start the shell that removes {} in the end", path.display()))?;
        Ok(Self { child })
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
