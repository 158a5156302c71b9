//! What the documents tell people to type does what they say it does.
//!
//! In blocks marked `console`, a line that starts with `$ ` is typed, and those that follow are what it prints. A command that starts
//! `greeter-server` stays for the rest of the document. Port 8080 is any free port here, and what `cargo run` would run
//! is taken from where it has been built.

use std::net::SocketAddr;
use std::process::Command;

use greeter_tests::missing_program;
use greeter_tests::process::{ServerProcess, greeter_client, greeter_server};

const PORT: u16 = 8080;

struct Typed {
    command: String,
    prints: String,
}

fn check(document: &str) {
    let text = std::fs::read_to_string(format!("{}/../{document}", env!("CARGO_MANIFEST_DIR")))
        .expect("the document is there");
    let typed = typed_in(&text);
    assert!(!typed.is_empty(), "{document} has nothing to type");
    if typed.iter().any(|typed| typed.command.contains("nc -N")) && missing_program("nc", "netcat-openbsd") {
        return;
    }
    let mut server = ServerProcess::start(&[]);
    for Typed { command, prints } in typed {
        if command.starts_with("cargo test") {
            // That is what is going on.
        } else if let Some(arguments) = command.strip_prefix("cargo run --release -p greeter-server") {
            server = start(arguments.strip_prefix(" -- ").unwrap_or_default(), &prints);
        } else {
            assert_eq!(run(&command, &server), prints, "{document}: {command}");
        }
    }
}

fn typed_in(text: &str) -> Vec<Typed> {
    let mut typed: Vec<Typed> = Vec::new();
    let mut is_console = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_console = line == "```console";
        } else if is_console {
            match (line.strip_prefix("$ "), typed.last_mut()) {
                (Some(command), _) => typed.push(Typed { command: command.to_owned(), prints: String::new() }),
                (None, Some(last)) => last.prints += &format!("{line}\n"),
                (None, None) => panic!("{line:?} is printed by nothing"),
            }
        }
    }
    typed
}

fn start(arguments: &str, prints: &str) -> ServerProcess {
    let arguments = arguments.replace(&format!(":{PORT}"), ":0");
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    if !arguments.contains(&"--listen") {
        arguments.extend(["--listen", "127.0.0.1:0"]);
    }
    let mut command = Command::new(greeter_server());
    command.args(&arguments);
    let server = ServerProcess::start_listeners(command, prints.lines().count());
    let announced: String = server
        .addresses()
        .iter()
        .map(|address| format!("listening on {}\n", SocketAddr::new(address.ip(), PORT)))
        .collect();
    assert_eq!(announced, prints);
    server
}

fn run(command: &str, server: &ServerProcess) -> String {
    let port = server.address().port().to_string();
    let command =
        command.replace("cargo run --release -p greeter-client --", "greeter-client").replace(&PORT.to_string(), &port);
    let folder = greeter_client().parent().expect("a program is in a folder");
    assert_eq!(Some(folder), greeter_server().parent());
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").expect("there is a PATH"));
    let output = Command::new("sh")
        .args(["-e", "-c", &command])
        .env("PATH", path)
        .env("GREETER_CONNECT", format!("127.0.0.1:{port}"))
        .output()
        .expect("there is a shell");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_readme_does_what_it_says() {
    check("README.md");
}

#[test]
fn the_protocol_page_does_what_it_says() {
    check("docs/protocol.md");
}
