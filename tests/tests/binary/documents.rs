//! What the documents tell people to type does what they say it does.
//!
//! It depends on the first word behind a block's fence:
//!
//! * `console`: a line that starts with `$ ` is typed, and those that follow are what it prints.
//!   `console status=1`: so the
//! last command ends; the others always succeed. A command that starts `greeter-server` stays for
//! the rest of the document. Port 8080 is any free port here, what `cargo run` would run is taken
//! from where it has been built, and times in reports are anybody's. Of the report of a load only
//! the words are compared.
//! * `talk`: a script, which passes against a server of its own. If a file's name follows, that
//!   file is there for the commands.
//! * `toml`, `sh`, `python`, `perl` or `awk` with a file's name behind it: that file is there for
//!   the commands.
//! * `talk-other`: a script for a server that is not the greeter. It has no error and no warning.
//!   If a file's name follows, that file is there for the commands.
//!
//! In a table, what stands under `write` can be parsed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use greeter_client::run::{Outcome, RunOptions, ServerProcess as OwnServer, run};
use greeter_client::talk::{self, Script};
use greeter_tests::missing_program;
use greeter_tests::process::{TestedServer, greeter_client, greeter_server};

const PORT: u16 = 8080;

/// How long a server may take until it listens, on a machine that does much else.
const START: Duration = Duration::from_secs(20);

/// A fenced block.
struct Block<'a> {
    /// The line of its fence, from 1.
    fence: usize,
    /// The words behind that.
    words: Vec<&'a str>,
    text: String,
}

struct Typed {
    command: String,
    prints: String,
    status: i32,
}

fn check(document: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let text = fs::read_to_string(&path).expect("the document is there");
    let blocks = blocks(&text);
    check_other_scripts(document, &blocks);
    check_scripts(&path, &blocks);
    check_typed(document, &blocks);
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, fence)) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let inside = lines.by_ref().take_while(|(line, _)| *line != "```");
            let text = inside.map(|(line, _)| format!("{line}\n")).collect();
            blocks.push(Block { fence, words: info.split_whitespace().collect(), text });
        }
    }
    blocks
}

fn marked<'a>(blocks: &'a [Block<'a>], word: &str) -> impl Iterator<Item = &'a Block<'a>> {
    blocks.iter().filter(move |block| block.words.first() == Some(&word))
}

// Scripts.

fn check_scripts(path: &Path, blocks: &[Block<'_>]) {
    let expected = marked(blocks, "talk").count();
    if expected == 0 {
        return;
    }
    let scripts = talk::load_all([path]);
    assert_eq!(scripts.len(), expected, "{}: not all scripts are found", path.display());
    let failures: Vec<String> = scripts
        .into_iter()
        .filter_map(|script| match script {
            Ok(script) => fails(&script),
            Err(error) => Some(error.to_string()),
        })
        .collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Why a script does not pass, if it does not.
fn fails(script: &Script) -> Option<String> {
    if let Some(warning) = script.warnings().first() {
        return Some(warning.to_string());
    }
    let program = greeter_server().to_string_lossy();
    let command = [&program, "--listen", "127.0.0.1:0", "--log", "off"].map(str::to_owned);
    let mut server = OwnServer::start(&command, START).expect("the server starts");
    match run(script, &RunOptions::default(), Some(&mut server)) {
        Outcome::Passed => None,
        Outcome::Skipped(reason) => Some(format!("{} was skipped: {reason}", script.name())),
        Outcome::Failed(failure) => Some(failure.to_string()),
    }
}

fn check_other_scripts(document: &str, blocks: &[Block<'_>]) {
    for block in marked(blocks, "talk-other") {
        // Its lines keep their numbers.
        let text = "\n".repeat(block.fence) + &block.text;
        let script = Script::parse(document, text).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(!script.steps().is_empty(), "{document}: a script says nothing: {}", block.text);
        assert_eq!(script.warnings(), []);
    }
}

/// The pieces of code under `write` in the tables of a document.
fn statements(text: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut is_table = false;
    for line in text.lines() {
        is_table = line.starts_with("| write |") || is_table && line.starts_with('|');
        let cell = line.split('|').nth(1).filter(|_| is_table).unwrap_or_default();
        statements.extend(cell.split('`').skip(1).step_by(2));
    }
    statements
}

// The options of the server.

/// The words behind each option in its help.
pub(crate) fn options_in_the_help() -> Vec<(String, String)> {
    let output = Command::new(greeter_server()).arg("--help").output().expect("the server can be started");
    let help = String::from_utf8(output.stdout).expect("a help is text");
    // Each option is a paragraph then, under whichever heading it stands.
    let options = help.replace("\n  --", "\n\n  --").replace("\n  -h", "\n\n  -h");
    let options = options.split("\n\n").filter(|option| option.starts_with("  --"));
    let words = options.map(|option| option.split_whitespace().collect::<Vec<_>>());
    words.map(|words| (words[0].to_owned(), words[1..].join(" "))).collect()
}

/// The options in the table of the server's page, with their defaults.
fn options_in_the_table(page: &str) -> Vec<(String, String)> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `--"));
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let option = cells[0].trim_end_matches('`').split(' ').next().expect("an option has a name");
            (format!("--{option}"), cells[1].trim_matches('`').to_owned())
        })
        .collect()
}

#[test]
fn the_table_and_the_help_have_the_same_options_with_the_same_defaults() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/server.md");
    let page = fs::read_to_string(page).expect("the document is there");
    let (mut in_table, mut in_help) = (options_in_the_table(&page), options_in_the_help());
    in_table.sort();
    in_help.sort();
    assert!(!in_help.is_empty());
    let names = |options: &[(String, String)]| options.iter().map(|(option, _)| option.clone()).collect::<Vec<_>>();
    assert_eq!(names(&in_table), names(&in_help));
    for ((option, default), (_, help)) in in_table.iter().zip(&in_help) {
        assert!(help.ends_with(&format!("(default: {default})")), "{option}: {default} is not in {help:?}");
        // As the page says below the table.
        let can_be_off = option.ends_with("-timeout") && option != "--handshake-timeout"
            || option == "--max-connections-per-address"
            || default == "off";
        assert_eq!(help.contains("or off"), can_be_off, "{option}: {help:?}");
    }
}

// What is documented in the code.

/// The lines of documentation in a file, with its place and number, without those of examples that
/// are hidden.
fn documentation(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).expect("a source is text");
    let lines = text.lines().zip(1..).filter_map(|(line, number)| {
        let line = line.trim_start();
        let said = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?.trim_start();
        (!said.starts_with("# ")).then(|| (format!("{}:{number}", path.display()), said.to_owned()))
    });
    lines.collect()
}

fn sources(package: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("src");
    let files = fs::read_dir(folder).expect("a package has sources").map(|file| file.expect("it can be read").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Whoever writes a responder has `greeter_server` among the dependencies, which has all that it
/// takes.
#[test]
fn examples_import_the_crate_that_their_readers_have() {
    for path in sources("greeter-core").into_iter().chain(sources("greeter-server")) {
        // The front page of the core is for those who write a driver of their own.
        if path.ends_with("greeter-core/src/lib.rs") {
            continue;
        }
        for (place, said) in documentation(&path) {
            assert!(!said.contains("use greeter_core"), "{place}: {said}");
        }
    }
}

#[test]
fn front_pages_name_no_private_modules() {
    for package in ["greeter-core", "greeter-server"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("src/lib.rs");
        let text = fs::read_to_string(&path).expect("a library has a front page");
        let private = text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
        for module in private {
            for (place, said) in documentation(&path) {
                assert!(!said.contains(&format!("`{module}`")), "{place}: {said}");
            }
        }
    }
}

// Commands.

fn check_typed(document: &str, blocks: &[Block<'_>]) {
    let typed: Vec<Typed> = marked(blocks, "console").flat_map(typed_in).collect();
    assert!(!typed.is_empty(), "{document} has nothing to type");
    let folder = folder_for(document, blocks);
    let mut server = TestedServer::start(&[]);
    for Typed { command, prints, status } in typed {
        if command.starts_with("cargo test") {
            // That is what is going on.
        } else if command.contains("nc -N") && missing_program("nc", "netcat-openbsd") {
            // All else is typed.
        } else if let Some(arguments) = command.strip_prefix("cargo run --release -p greeter-server") {
            server = start(arguments.strip_prefix(" -- ").unwrap_or_default(), &prints, &folder);
        } else {
            let output = type_in(&command, &folder, &server);
            let (printed, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            let masked = if command.starts_with("greeter-client load") { words } else { masked };
            assert_eq!(masked(&printed), masked(&prints), "{document}: {command}\n{errors}");
            assert_eq!(output.status.code(), Some(status), "{document}: {command}\n{errors}");
        }
    }
}

fn typed_in(block: &Block<'_>) -> Vec<Typed> {
    let mut typed: Vec<Typed> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), typed.last_mut()) {
            (Some(command), _) => typed.push(Typed { command: command.to_owned(), prints: String::new(), status: 0 }),
            (None, Some(last)) => last.prints += &format!("{line}\n"),
            (None, None) => panic!("{line:?} is printed by nothing"),
        }
    }
    if let (Some(status), Some(last)) = (block.words.get(1), typed.last_mut()) {
        let status = status.strip_prefix("status=").and_then(|status| status.parse().ok());
        last.status = status.unwrap_or_else(|| panic!("{:?} says no status", block.words));
    }
    typed
}

/// Whether a block is a file for the commands, if it has a name.
fn is_file(block: &Block<'_>) -> bool {
    block.words.first().is_some_and(|word| ["awk", "perl", "python", "sh", "talk", "talk-other", "toml"].contains(word))
}

/// A fresh folder with the files that have a name.
fn folder_for(document: &str, blocks: &[Block<'_>]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documents").join(document);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("what an earlier run left can be removed");
    }
    fs::create_dir_all(&folder).expect("there is room for a folder");
    for block in blocks.iter().filter(|block| is_file(block)) {
        if let Some(name) = block.words.get(1) {
            fs::write(folder.join(name), &block.text).expect("there is room for a file");
        }
    }
    folder
}

fn start(arguments: &str, prints: &str, folder: &Path) -> TestedServer {
    let arguments = arguments.replace(&format!(":{PORT}"), ":0");
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    if !arguments.contains(&"--listen") {
        // In front: behind some, nothing is an option.
        arguments.splice(..0, ["--listen", "127.0.0.1:0"]);
    }
    let mut command = Command::new(greeter_server());
    command.args(&arguments).current_dir(folder);
    let server = TestedServer::start_listeners(command, prints.lines().count());
    let announced: String = server
        .addresses()
        .iter()
        .map(|address| format!("listening on {}\n", SocketAddr::new(address.ip(), PORT)))
        .collect();
    assert_eq!(announced, prints);
    server
}

fn type_in(command: &str, folder: &Path, server: &TestedServer) -> Output {
    let port = server.address().port().to_string();
    let command =
        command.replace("cargo run --release -p greeter-client --", "greeter-client").replace(&PORT.to_string(), &port);
    let programs = greeter_client().parent().expect("a program is in a folder");
    assert_eq!(Some(programs), greeter_server().parent());
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("there is a PATH"));
    Command::new("sh")
        .args(["-e", "-c", &command])
        .current_dir(folder)
        .env("PATH", path)
        .env("GREETER_CONNECT", format!("127.0.0.1:{port}"))
        // There, nothing would be blessed.
        .env_remove("CI")
        .output()
        .expect("there is a shell")
}

/// The text without what is different each time: ports, how long a script took, and whether the end
/// was seen already behind a line.
fn masked(text: &str) -> String {
    let text = mask(&mask(text, "127.0.0.1:", ""), "  (", " ms)");
    mask(&text, ", ", " ms)").replace(", then <eof\n", "\n")
}

/// A text without its figures: numbers, units of time, bars, and the room they take.
fn words(text: &str) -> String {
    let without = |line: &str| {
        let line: String =
            line.chars().filter(|c| !c.is_ascii_digit() && !matches!(c, '.' | ',' | '▁'..='█')).collect();
        let is_unit = |word: &str| ["", "ns", "µs", "ms", "s"].contains(&word.trim_matches(['(', ')']));
        let words = line.split_whitespace().filter(|word| !is_unit(word));
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(without).collect()
}

/// Each number between these two becomes 0.
fn mask(text: &str, before: &str, behind: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some((start, number)) = rest.split_once(before) {
        rest = number.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = &number[..number.len() - rest.len()];
        let is_one = !number.is_empty() && rest.starts_with(behind);
        masked.extend([start, before, if is_one { "0" } else { number }]);
    }
    masked + rest
}

#[test]
fn the_readme_does_what_it_says() {
    check("README.md");
}

#[test]
fn the_page_on_the_server_does_what_it_says() {
    check("docs/server.md");
}

#[test]
fn the_page_on_programs_does_what_it_says() {
    check("docs/programs.md");
}

#[test]
fn the_programs_on_the_page_are_those_among_the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/programs.md")).expect("the page is there");
    let blocks = blocks(&page);
    let is_program = |block: &&Block<'_>| is_file(block) && !["talk-other", "toml"].contains(&block.words[0]);
    let named: Vec<_> = blocks.iter().filter(is_program).collect();
    assert!(named.len() >= 8);
    for block in named {
        let file = root.join("greeter-server/examples/programs").join(block.words[1]);
        assert_eq!(fs::read_to_string(&file).ok().as_ref(), Some(&block.text), "{}", file.display());
    }
}

#[test]
fn the_pages_on_the_client_do_what_they_say() {
    check("docs/client.md");
    check("greeter-client/README.md");
}

#[test]
fn the_protocol_page_does_what_it_says() {
    check("docs/protocol.md");
}

#[test]
fn the_page_on_scripts_does_what_it_says() {
    check("docs/talk.md");
}

#[test]
fn the_page_on_load_does_what_it_says() {
    check("docs/load.md");
}

#[test]
fn the_page_on_scripts_explains_what_there_is() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/talk.md"));
    let page = page.expect("the document is there");
    let statements = statements(&page);
    assert!(statements.len() > 40, "the table has shrunk: {statements:?}");
    for statement in statements {
        let line = if statement.starts_with("{{") { format!("< {statement}\n") } else { format!("{statement}\n") };
        let normal = talk::format("the table", &line).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(String::from_utf8_lossy(&normal), line, "the page does not show the normal form");
    }
}

#[test]
fn what_varies_is_masked_and_nothing_else() {
    let report =
        "FAIL a.talk  (12 ms)\n  a.talk:3  127.0.0.1:5123 -> 127.0.0.1:80\n    + < 12 (5 ms) (nothing), then <eof\n";
    let masked_report = "FAIL a.talk  (0 ms)\n  a.talk:3  127.0.0.1:0 -> 127.0.0.1:0\n    + < 12 (5 ms) (nothing)\n";
    assert_eq!(masked(report), masked_report);
    let figures = "  lines      1,500 right, 99/s\n  p50    138 µs   2.00 s\n  ok p99<5ms (365 µs)\n  7 µs ▁█ 9 s\n";
    assert_eq!(words(figures), "lines right /s\np\nok p<ms\n\n");
}
