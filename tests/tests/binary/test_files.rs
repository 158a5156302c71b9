//! No test is forgotten: the compiler never sees a file that no `mod` line names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders in which each file is a part of one binary.
const FOLDERS: [&str; 10] = [
    "greeter-client/tests/command",
    "greeter-client/tests/library",
    "greeter-client/tests/tls",
    "greeter-core/tests/it",
    "tests/tests/binary",
    "tests/tests/exec",
    "tests/tests/fleet",
    "tests/tests/scripts",
    "tests/tests/server",
    "tests/tests/timing",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("it can be read").path()).collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The names of the files in a folder that are to be modules.
fn files(folder: &Path) -> BTreeSet<String> {
    let sources =
        entries(folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let names = sources.map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    names.filter(|name| name != "main").collect()
}

#[test]
fn the_folders_are_all_there_are() {
    let packages = entries(&root()).into_iter().map(|package| package.join("tests")).filter(|tests| tests.is_dir());
    let folders = packages.flat_map(|tests| entries(&tests)).filter(|folder| folder.join("main.rs").is_file());
    let folders: BTreeSet<PathBuf> = folders.collect();
    assert_eq!(folders, FOLDERS.map(|folder| root().join(folder)).into());
}

#[test]
fn every_file_is_a_module_of_its_binary_under_a_sentence_that_says_what_belongs_there() {
    for folder in FOLDERS.map(|folder| root().join(folder)) {
        let main = read(&folder.join("main.rs"));
        let mut modules = BTreeSet::new();
        let mut before = "";
        for line in main.lines() {
            if let Some(module) = line.strip_prefix("mod ").and_then(|line| line.strip_suffix(';')) {
                let is_sentence = before.starts_with("/// ") && before.ends_with('.');
                assert!(is_sentence, "{}: `mod {module};` stands under {before:?}", folder.display());
                modules.insert(module.to_owned());
            }
            before = line;
        }
        assert_eq!(files(&folder), modules, "left: the files, right: the modules of {}", folder.display());
    }
}

#[test]
fn whoever_looks_at_the_clock_says_first_whether_others_may_run_beside_it() {
    let folder = root().join("tests/tests/timing");
    let mut tests = 0;
    for file in files(&folder) {
        let text = read(&folder.join(&file).with_extension("rs"));
        for test in text.split("#[test]\n").skip(1) {
            let first = test.lines().skip(1).find(|line| !line.starts_with("    const "));
            let says = matches!(first, Some("    let _alone = alone();" | "    let _others = beside_others();"));
            assert!(says, "{file}: {}", test.lines().next().unwrap_or_default());
            tests += 1;
        }
    }
    assert!(tests > 0);
}
