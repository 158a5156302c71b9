//! Checks what the compiler says to a function that cannot answer: what to write, and nothing of
//! how this crate is made.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Compiles a program, and returns what the compiler says.
fn compile(statement: &str) -> String {
    let library = library();
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--allow", "warnings"]);
    command.args(["--crate-name", "program", "--out-dir", env!("CARGO_TARGET_TMPDIR")]);
    command.arg("--extern").arg(format!("greeter_core={}", library.display()));
    command.arg("-L").arg(format!("dependency={}", folder().join("deps").display()));
    let mut compiler = command.arg("-").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let program = format!("use greeter_core::*; pub fn program() {{ {statement} }}");
    compiler.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = compiler.wait_with_output().unwrap();
    let diagnostics = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), !diagnostics.contains("error"), "{diagnostics}");
    diagnostics
}

/// Returns the folder in which cargo builds with the profile of this test.
fn folder() -> PathBuf {
    let exe = env::current_exe().unwrap();
    exe.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).unwrap().to_owned()
}

/// Returns this crate as the programs import it, built with the profile of this test.
fn library() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let folder = folder();
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            profile => profile,
        };
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--offline", "--package", env!("CARGO_PKG_NAME"), "--lib", "--message-format", "json"]);
        command.args(["--profile", profile, "--target-dir"]).arg(folder.parent().unwrap());
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "cannot build the library");
        let messages = String::from_utf8(output.stdout).unwrap();
        let artifacts = messages.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut files = artifacts
            .filter(|message| message["target"]["name"] == "greeter_core")
            .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
        files.find_map(|file| file.as_str().filter(|file| file.ends_with(".rlib")).map(PathBuf::from)).unwrap()
    })
}

/// Asserts that the compiler rejects a program with all these words, and with none about what is
/// private.
#[track_caller]
fn rejected(statement: &str, expected: &[&str]) {
    let diagnostics = compile(statement);
    for words in expected {
        assert!(diagnostics.contains(words), "{statement}: {words:?} is missing:\n{diagnostics}");
    }
    assert!(!diagnostics.contains("private::") && !diagnostics.contains("AppendTo"), "{statement}:\n{diagnostics}");
}

#[test]
fn what_can_be_a_reply_compiles() {
    let functions = [
        "|line: &str| line.len()",
        "|line: &str| 5",
        "|line: &str| 0.5",
        "|line: &str| line.chars().next()",
        "|line: &str| line.parse::<u8>().ok()",
        "|line: &str| {}",
        "|line: &str| Some(\"text\")",
        "|line: &str| Ok::<(), Rejection>(())",
        "|line: &str| line.parse::<i64>()",
        "|line: &str| Err::<String, _>(\"why\")",
        "|line: &[u8]| line.to_vec()",
        "|line: &str| Ok::<Option<u8>, std::num::ParseIntError>(Some(line.parse()?))",
    ];
    let program: String = functions.iter().map(|function| format!("let _ = responder_fn({function});")).collect();
    assert_eq!(compile(&program), "");
}

#[test]
fn what_cannot_be_a_reply_is_reported_with_what_can() {
    let can_be = ["the text of a line can", "`()` for no reply", "return `to_string()`"];
    let cases = [
        ("line == \"yes\"", "`bool` cannot be a reply"),
        ("vec![line.to_owned()]", "`Vec<String>` cannot be a reply"),
        ("Some(line == \"yes\")", "`Option<bool>` cannot be a reply"),
        ("Ok::<Vec<String>, String>(vec![])", "`Result<Vec<String>, String>` cannot be a reply"),
    ];
    for (reply, cannot) in cases {
        rejected(&format!("let _ = responder_fn(|line: &str| {reply});"), &[&[cannot], &can_be[..]].concat());
    }
}

#[test]
fn what_cannot_be_the_error_of_a_reply_is_reported_with_what_can() {
    let can_be = "the error of a `Result` can be a `Rejection`";
    rejected(
        "let _ = responder_fn(|_: &str| Ok::<&str, u8>(\"\"));",
        &["`Result<&str, u8>` cannot be a reply", can_be],
    );
    rejected("let _ = responder_fn(|_: &str| Err::<(), ()>(()));", &["`Result<(), ()>` cannot be a reply", can_be]);
}

#[test]
fn what_is_not_the_text_of_a_line_is_reported_with_what_is() {
    let program = |text: &str| format!("fn say(reply: &mut Reply<'_>) {{ reply.line({text}); }}");
    let what_is = ["text, bytes, numbers and `char` can", "write `format_args!(\"{}\", …)`"];
    for (text, what) in [("Some(1)", "`Option<{integer}>`"), ("true", "`bool`"), ("[\"a\", \"b\"]", "`[&str; 2]`")] {
        rejected(&program(text), &[&[format!("{what} cannot be said as a line").as_str()], &what_is[..]].concat());
    }
}

#[test]
fn what_is_not_a_line_is_reported_with_what_is() {
    rejected(
        "let _ = responder_fn(|line: &String| line.clone());",
        &["a line cannot be taken as `String`", "takes `&str` or `&[u8]`"],
    );
    // These words are the compiler's own. They lead to those above.
    rejected(
        "let _ = responder_fn(|line: String| line);",
        &["consider adjusting the signature so it borrows", "&String"],
    );
    // And these are quoted in the documentation of `responder_fn`.
    rejected("let _ = responder_fn(|line: &str| line.trim());", &["lifetime may not live long enough"]);
    rejected(
        "fn trim(line: &str) -> &str { line.trim() } let _ = responder_fn(trim);",
        &["one type is more general than the other"],
    );
}

#[test]
fn what_is_not_a_responder_is_reported_with_what_is() {
    let how = "by `responder_fn(|line: &str| …)`";
    rejected("struct Mine; let _ = testing::TestClient::connect(&Mine);", &["`Mine` is not a responder", how]);
    rejected("let _ = testing::TestClient::connect(&|line: &str| line.len());", &["is not a responder", how]);
}
