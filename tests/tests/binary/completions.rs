//! What `greeter-client completions` prints makes real shells complete its words.
#![cfg(unix)]

use std::process::Command;

use greeter_tests::missing_program;
use greeter_tests::process::greeter_client;

/// The words of a command, of which the last is to be completed, and what is offered for it.
/// `<files>`: what the shell knows.
const COMPLETIONS: [(&[&str], &[&str]); 14] = [
    (&["comp"], &["completions"]),
    (&["r"], &["record", "run"]),
    (&["--co"], &["--color", "--connect"]),
    (&["--eol", ""], &["crlf", "lf"]),
    (&["--color", "a"], &["always", "auto"]),
    (&["--eol", "lf", "--connect", "run", "ru"], &["run"]),
    (&["completions", ""], &["bash", "fish", "zsh"]),
    (&["run", "--ma"], &["--max-time"]),
    (&["run", "--report", "j"], &["json", "junit"]),
    (&["run", "--jobs", "2", ""], &["<files>"]),
    (&["record", "--", ""], &["<files>"]),
    (&["greet", "run", "--"], &["--help", "--version"]),
    (&["greet", "--", "--"], &[]),
    (&["fmt", "*", "--c"], &["--check"]),
];

/// What `script` prints, line by line, in order.
fn offered(shell: &str, script: &str, words: &[&str]) -> Vec<String> {
    let mut command = Command::new(shell);
    command.args(match shell {
        "bash" => &["--norc", "--noprofile"][..],
        "fish" => &["--no-config"],
        _ => &["-f"],
    });
    let folder = greeter_client().parent().expect("a program is in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").expect("there is a PATH"));
    command.args(["-c", script, shell]).args(words).env("PATH", path).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().expect("the shell starts");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shell} {words:?}");
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    lines
}

fn check(shell: &str, script: &str) {
    if missing_program(shell, shell) {
        return;
    }
    for (words, expected) in COMPLETIONS {
        assert_eq!(offered(shell, script, words), expected, "{shell}: greeter-client {words:?}");
    }
}

#[test]
fn bash_completes() {
    let script = r#"
        source <(greeter-client completions bash)
        compopt() { echo '<files>'; }
        COMP_WORDS=(greeter-client "$@")
        COMP_CWORD=$#
        [[ "$(complete -p greeter-client)" == *'-F _greeter_client greeter-client' ]] || echo 'not registered'
        _greeter_client greeter-client
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    check("bash", script);
    // It makes words of its own of what stands around an equals sign.
    if !missing_program("bash", "bash") {
        assert_eq!(offered("bash", script, &["--color", "=", "al"]), ["always"]);
        assert_eq!(offered("bash", script, &["--color", "="]), ["always", "auto", "never"]);
        assert_eq!(offered("bash", script, &["--color", "=", "never", "pi"]), ["pipe"]);
    }
}

#[test]
fn zsh_completes() {
    let script = r#"
        compdef() { [[ "$*" == '_greeter_client greeter-client' ]] || echo 'not registered' }
        _describe() { print -rl -- "${candidates[@]%%:*}" }
        _files() { echo '<files>' }
        source <(greeter-client completions zsh)
        words=(greeter-client "$@")
        CURRENT=$#words
        _greeter_client
    "#;
    check("zsh", script);
    if !missing_program("zsh", "zsh") {
        assert_eq!(offered("zsh", script, &["--color=al"]), ["--color=always"]);
    }
}

#[test]
fn fish_completes() {
    // Its arguments start with the name that stands for the shell.
    let script = r"
        source (greeter-client completions fish | psub)
        function __fish_complete_path; echo '<files>'; end
        set -l typed greeter-client (string escape --no-quoted -- $argv[2..-2]) $argv[-1]
        complete -C (string join ' ' -- $typed) | string replace -r '\t.*' ''
    ";
    check("fish", script);
    if !missing_program("fish", "fish") {
        assert_eq!(offered("fish", script, &["--color=al"]), ["--color=always"]);
    }
}
