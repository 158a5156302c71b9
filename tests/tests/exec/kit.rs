use std::fs;
use std::time::Duration;

use greeter_server::{Exec, ExecOptions, ServerHandle};
use greeter_tests::answered_by;

/// A program in the language of sh(1), with these lines of it done for each `line`.
pub(crate) fn for_each_line(body: &str) -> ExecOptions {
    shell(&format!("while IFS= read -r line; do {body}; done"))
}

/// A program in the language of sh(1).
pub(crate) fn shell(script: &str) -> ExecOptions {
    Exec::options("sh").args(["-c", script]).children(1)
}

/// Says what it is asked.
pub(crate) const ECHO: &str = r#"printf '%s\n' "$line""#;

/// A server whose lines this program answers.
#[track_caller]
pub(crate) fn serve(options: ExecOptions) -> (ServerHandle, Exec) {
    let exec = options.start().expect("the program is good");
    (greeter_tests::spawn(answered_by(0).responder(exec.clone())), exec)
}

/// Whether there is a process with this number that has not ended.
pub(crate) fn is_there(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Sooner than any test ends that waits for it.
pub(crate) const SOON: Duration = Duration::from_millis(300);
