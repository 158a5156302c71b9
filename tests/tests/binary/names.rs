//! One name for one type, and comments that fit beside the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Type names that several files define, each of them with a reason.
const RECURRING: [&str; 5] = [
    // The test kit's is a socket, the server's a socket with its state machine. No file knows both.
    "Client",
    // The main type of two crates of which no program uses both.
    "Connection",
    // Each program's own.
    "Options",
    // In the models, what stands in for a channel's; in the client library, the halves of its
    // connection.
    "Receiver",
    "Sender",
];

/// Columns of a line of prose in a comment.
const MAX_COLUMNS: usize = 100;

/// Files whose comments are the help texts of a command line, wrapped when they are shown.
const HELP_TEXTS: [&str; 4] = ["cli/args.rs", "greeter-server/src/main.rs", "bench/main.rs", "bin/soak.rs"];

fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    for package in ["greeter-core", "greeter-server", "greeter-client", "tests"] {
        collect(&root.join(package), &mut sources);
    }
    sources
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        // What is built, and what is no part of this workspace.
        let is_elsewhere = ["target", "peers", "fuzz"].iter().any(|name| path.ends_with(name));
        if path.is_dir() && !is_elsewhere {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}

/// The name of the type that a line defines, if it does so outside any block.
fn defined(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
    let line = line.strip_prefix("pub(super) ").unwrap_or(line);
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let name = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    name.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
}

#[test]
fn no_type_name_is_defined_twice_but_a_few() {
    let mut files_of: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in sources().into_iter().filter(|path| path.components().any(|part| part.as_os_str() == "src")) {
        let text = fs::read_to_string(&path).expect("a source is text");
        for name in text.lines().filter_map(defined) {
            files_of.entry(name.to_owned()).or_default().insert(path.clone());
        }
    }
    assert!(files_of.contains_key("ServerHandle"));
    let twice = files_of.into_iter().filter(|(_, files)| files.len() > 1).map(|(name, _)| name);
    assert_eq!(twice.collect::<Vec<_>>(), RECURRING);
}

#[test]
fn comments_are_within_100_columns() {
    let mut too_long = Vec::new();
    for path in sources() {
        let is_help = HELP_TEXTS.iter().any(|file| path.ends_with(file));
        let text = fs::read_to_string(&path).expect("a source is text");
        let mut is_code = false;
        for (line, number) in text.lines().zip(1..) {
            let comment = line.trim_start();
            let said = comment.trim_start_matches(['/', '!']).trim_start();
            is_code ^= comment.starts_with("//") && said.starts_with("```");
            // Rows of tables cannot be wrapped, and what is an example is formatted as code.
            let is_prose = comment.starts_with("//") && !said.starts_with('|') && !is_code;
            if is_prose && !is_help && line.chars().count() > MAX_COLUMNS {
                too_long.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert_eq!(too_long, [""; 0]);
}
