//! What `greeter-client completions` and `greeter-server --completions` print makes real shells
//! complete their words.
#![cfg(unix)]

use std::process::Command;

use greeter_tests::missing_program;
use greeter_tests::process::{greeter_client, greeter_server};

/// The words of a command, of which the last is to be completed, and what is offered for it.
/// `<files>`: what the shell knows.
type Offers = &'static [(&'static [&'static str], &'static [&'static str])];

const PROGRAMS: [(&str, Offers); 2] = [("greeter-client", &OF_THE_CLIENT), ("greeter-server", &OF_THE_SERVER)];

const OF_THE_CLIENT: [(&[&str], &[&str]); 15] = [
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
    (&["pipe", ""], &["--help", "--version"]),
];

const OF_THE_SERVER: [(&[&str], &[&str]); 11] = [
    (&["--dr"], &["--drain", "--drain-delay", "--drain-spread"]),
    (&["--when-full", ""], &["refuse", "wait"]),
    (&["--log", "off", "--log-format", "j"], &["json"]),
    (&["--tls-client-auth", "o"], &["optional"]),
    (&["--exec-mode", ""], &["lines", "per-client", "tagged"]),
    (&["--tls-cert", "a.pem", "--tls-key", ""], &["<files>"]),
    (&["--listen", ""], &[]),
    (&["--config", ""], &["<files>"]),
    (&["--completions", ""], &["bash", "fish", "zsh"]),
    (&["ve"], &[]),
    (&["--ve"], &["--version"]),
];

/// What the program itself prints for a shell to read.
fn call(program: &str) -> &'static str {
    if program == "greeter-client" { "completions" } else { "--completions" }
}

/// What `script` prints, line by line, in order.
fn offered(shell: &str, script: &str, words: &[&str]) -> Vec<String> {
    let mut command = Command::new(shell);
    command.args(match shell {
        "bash" => &["--norc", "--noprofile"][..],
        "fish" => &["--no-config"],
        _ => &["-f"],
    });
    let folder = greeter_client().parent().expect("a program is in a folder");
    assert_eq!(Some(folder), greeter_server().parent());
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").expect("there is a PATH"));
    command.args(["-c", script, shell]).args(words).env("PATH", path).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().expect("the shell starts");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{shell} {words:?}");
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    lines
}

/// The script for one program, in which `@program@`, `@function@` and `@call@` are its own.
fn for_program(program: &str, script: &str) -> String {
    let script = script.replace("@program@", program).replace("@call@", call(program));
    script.replace("@function@", &program.replace('-', "_"))
}

fn check(shell: &str, script: &str, more: &[(&str, &[&str], &[&str])]) {
    if missing_program(shell, shell) {
        return;
    }
    for (program, offers) in PROGRAMS {
        let more = more.iter().filter(|(of, ..)| *of == program).map(|(_, words, expected)| (*words, *expected));
        for (words, expected) in offers.iter().copied().chain(more) {
            assert_eq!(offered(shell, &for_program(program, script), words), expected, "{shell}: {program} {words:?}");
        }
    }
}

#[test]
fn bash_completes() {
    let script = r#"
        source <(@program@ @call@ bash)
        compopt() { echo '<files>'; }
        COMP_WORDS=(@program@ "$@")
        COMP_CWORD=$#
        [[ "$(complete -p @program@)" == *'-F _@function@ @program@' ]] || echo 'not registered'
        _@function@ @program@
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    // It makes words of its own of what stands around an equals sign.
    check(
        "bash",
        script,
        &[
            ("greeter-client", &["--color", "=", "al"], &["always"]),
            ("greeter-client", &["--color", "="], &["always", "auto", "never"]),
            ("greeter-client", &["--color", "=", "never", "pi"], &["pipe"]),
            ("greeter-server", &["--when-full", "=", "w"], &["wait"]),
        ],
    );
}

/// What bash has, the others have in one word.
const IN_ONE_WORD: [(&str, &[&str], &[&str]); 2] = [
    ("greeter-client", &["--color=al"], &["--color=always"]),
    ("greeter-server", &["--when-full=w"], &["--when-full=wait"]),
];

#[test]
fn zsh_completes() {
    let script = r#"
        compdef() { [[ "$*" == '_@function@ @program@' ]] || echo 'not registered' }
        _describe() { print -rl -- "${candidates[@]%%:*}" }
        _files() { echo '<files>' }
        source <(@program@ @call@ zsh)
        words=(@program@ "$@")
        CURRENT=$#words
        _@function@
    "#;
    check("zsh", script, &IN_ONE_WORD);
}

#[test]
fn fish_completes() {
    // Its arguments start with the name that stands for the shell.
    let script = r"
        source (@program@ @call@ fish | psub)
        function __fish_complete_path; echo '<files>'; end
        set -l typed @program@ (string escape --no-quoted -- $argv[2..-2]) $argv[-1]
        complete -C (string join ' ' -- $typed) | string replace -r '\t.*' ''
    ";
    check("fish", script, &IN_ONE_WORD);
}
