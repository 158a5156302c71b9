//! The manual pages are what their programs and documents say, and pages that others can read.
//! `GREETER_BLESS=1` writes them anew, and so it does with the completions beside them.

use std::fs;
use std::path::Path;
use std::process::Command;

use greeter_tests::directory::TestDirectory;
use greeter_tests::manual::{ManualPage, PAGES, config_file};
use greeter_tests::missing_program;
use greeter_tests::process::{greeter_client, greeter_server};

fn program(name: &str) -> &'static Path {
    if name == "greeter-server" { greeter_server() } else { greeter_client() }
}

/// Compares a file with what it should be, or makes it that.
fn check(file: &Path, expected: &str) {
    let is_blessed = std::env::var("GREETER_BLESS").is_ok_and(|value| value == "1");
    if is_blessed && fs::read_to_string(file).is_ok_and(|text| text == expected) {
        // Other tests read it, perhaps at this moment.
    } else if is_blessed {
        fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("there is room for a folder");
        fs::write(file, expected).expect("there is room for a file");
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    let differs = text.lines().zip(expected.lines()).zip(1..).find(|((is, made), _)| is != made);
    assert!(
        text == expected,
        "{} is not what is made today; first: {differs:?}. If that is meant:\n\
         GREETER_BLESS=1 cargo test -p greeter-tests --test binary manual",
        file.display()
    );
}

fn shown(page: &ManualPage) -> String {
    let output = Command::new("mandoc").args(["-Tutf8", "-Owidth=80"]).arg(page.file()).output();
    let text = String::from_utf8(output.expect("mandoc starts").stdout).expect("a page is text");
    // Where it is bold or underlined, each letter is there twice, or a line is below it.
    let mut letters: Vec<char> = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{8}' {
            letters.pop();
            letters.extend(chars.next());
        } else {
            letters.push(c);
        }
    }
    letters.into_iter().collect()
}

#[test]
fn the_manual_pages_are_what_is_made_of_help_and_documents() {
    for page in &PAGES {
        check(&page.file(), &page.text(program(page.name)));
    }
}

#[test]
fn the_file_of_options_is_valid_and_so_are_all_the_defaults_in_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../greeter-server/packaging/greeter.toml");
    let text = config_file(greeter_server());
    check(&file, &text);
    let printed = |file: &Path| {
        let output = Command::new(greeter_server()).arg("--config").arg(file).arg("--print-config").output();
        let output = output.expect("the server starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("options are text")
    };
    assert!(printed(&file).lines().all(|line| line.starts_with('#')), "{}", printed(&file));
    // Those that have a default are given it, in the same order as they are printed.
    let directory = TestDirectory::new();
    let all = directory.file("greeter.toml");
    let is_kind = |line: &str| line.trim_end_matches('"').ends_with(|c: char| c.is_ascii_uppercase());
    let given: Vec<_> =
        text.lines().filter(|line| line.starts_with('#') && line.contains(" = ") && !is_kind(line)).collect();
    let given: Vec<_> = given.into_iter().map(|line| line.trim_start_matches('#')).collect();
    fs::write(&all, given.join("\n")).expect("there is room for a file");
    let printed = printed(&all);
    for line in &given {
        assert!(printed.lines().any(|of_all| of_all.starts_with(&format!("{line}  # "))), "{line} is not in {printed}");
    }
    assert!(given.len() > 20, "{given:?}");
}

#[test]
fn the_files_with_completions_are_what_the_programs_print() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, call) in [("greeter-client", "completions"), ("greeter-server", "--completions")] {
        for shell in ["bash", "fish", "zsh"] {
            let output = Command::new(program(name)).args([call, shell]).output().expect("the program starts");
            let script = String::from_utf8(output.stdout).expect("a script is text");
            check(&packaging.join(name).join("packaging/completions").join(shell), &script);
        }
    }
}

#[test]
fn the_manual_pages_are_without_a_warning() {
    if missing_program("mandoc", "mandoc") {
        return;
    }
    for page in &PAGES {
        let output = Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(page.file()).output();
        let output = output.expect("mandoc starts");
        assert!(output.status.success() && output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn every_option_is_in_the_manual() {
    if missing_program("mandoc", "mandoc") {
        return;
    }
    for page in &PAGES {
        if page.section == 5 {
            continue;
        }
        let shown = shown(page);
        let output = Command::new(program(page.name)).arg("--help").output().expect("the program starts");
        let help = String::from_utf8(output.stdout).expect("a help is text");
        let options = help.lines().filter_map(|line| line.strip_prefix("  --")?.split_whitespace().next());
        for option in options {
            let is_there = shown.lines().any(|line| line.trim_start().starts_with(&format!("--{option}")));
            assert!(is_there, "--{option} is not in {}({})", page.name, page.section);
        }
    }
}

#[test]
fn what_scripts_may_say_is_in_the_manual_as_it_is_written() {
    if missing_program("mandoc", "mandoc") {
        return;
    }
    let page = PAGES.iter().find(|page| page.name == "greeter-talk").expect("there is such a page");
    let shown = shown(page);
    for written in [
        "\n     >\"raw\\xff\\r\\n\"\n",
        "\n     < text, <\n",
        "{{name:regex}} (where <)",
        "{{greeting:[A-Z]\\w+}}, {{name}}",
        "<nothing 50ms",
        "\n           >\"Bob\\r\\n\"\n",
    ] {
        assert!(shown.contains(written), "{written:?} is not in\n{shown}");
    }
}
