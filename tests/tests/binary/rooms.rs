//! The map in docs/architecture.md has every file of the crates, and imports run down it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One crate's list: files as module paths with `/`, from the top of the list to its end. A folder
/// whose files are not listed stands for all of them, with `/` at its end.
struct Rooms {
    source: PathBuf,
    files: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn maps() -> Vec<Rooms> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("the page is there");
    let mut maps = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(source) = line.strip_prefix("```text rooms ") else { continue };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        maps.push(Rooms { source: root().join(source), files: files_of(&block) });
    }
    maps
}

/// What is indented is in the folder above it, however deep.
fn files_of(block: &[&str]) -> Vec<String> {
    let mut folders: Vec<(usize, &str)> = Vec::new();
    let mut files = Vec::new();
    for (index, line) in block.iter().enumerate() {
        let indent = indent(line);
        folders.retain(|(depth, _)| *depth < indent);
        let name = line.split_whitespace().next().expect("a line has a name");
        let path: String = folders.iter().map(|(_, folder)| *folder).chain([name]).collect();
        let has_own_list = block.get(index + 1).is_some_and(|next| self::indent(next) > indent);
        if name.ends_with('/') {
            folders.push((indent, name));
        }
        files.push(if has_own_list { path.trim_end_matches('/').to_owned() } else { path });
    }
    files
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The files below a folder, as module paths with `/`. `lib.rs` is what all others hang from, and
/// `mod.rs` is its folder.
fn files_in(source: &Path, folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            files.extend(files_in(source, &path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = path.strip_prefix(source).expect("it is below").with_extension("");
            let module = module.to_str().expect("names of modules are ASCII").replace('\\', "/");
            files.insert(module.strip_suffix("/mod").unwrap_or(&module).to_owned());
        }
    }
    files.remove("lib");
    files
}

impl Rooms {
    /// The place of a module in the list, if it has one.
    fn place(&self, module: &str) -> Option<usize> {
        self.files.iter().position(|listed| stands_for(listed, module))
    }
}

/// Code without comments and without what is compiled for tests only.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("the file is there");
    let lines: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut code = String::new();
    let mut lines = lines.into_iter().peekable();
    while let Some(line) = lines.next() {
        if !line.trim_start().starts_with("#[cfg(") || !line.contains("test") {
            code += line;
            code.push('\n');
            continue;
        }
        // The item behind the attribute ends at a brace or semicolon as deep as its start.
        let mut depth = 0_usize;
        for line in lines.by_ref() {
            depth += line.matches(['{', '(', '[']).count();
            depth = depth.saturating_sub(line.matches(['}', ')', ']']).count());
            let is_attribute = line.trim_start().starts_with("#[");
            if depth == 0 && !is_attribute && (line.ends_with('}') || line.ends_with(';')) {
                break;
            }
        }
    }
    code
}

/// The paths that the code names of its own crate, without `crate::`.
fn imports(code: &str, module: &str) -> Vec<String> {
    let parent = |levels: usize| {
        let parts: Vec<_> = module.split('/').collect();
        parts[..parts.len().saturating_sub(levels)].iter().map(|part| format!("{part}::")).collect::<String>()
    };
    let code = code.replace("super::super::", &format!("crate::{}", parent(2)));
    let code = code.replace("super::", &format!("crate::{}", parent(1)));
    let mut found = Vec::new();
    let mut rest = &*code;
    while let Some(start) = rest.find("crate::") {
        rest = &rest[start + "crate::".len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:{}, \n".contains(c))).unwrap_or(rest.len());
        found.extend(expanded(&rest[..end]));
    }
    found
}

/// `a::{b, c::{d}}` is `a::b` and `a::c::d`.
fn expanded(tree: &str) -> Vec<String> {
    let tree: String = tree.split_whitespace().collect();
    let Some((head, inside)) = tree.split_once('{') else {
        let end = tree.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).unwrap_or(tree.len());
        return vec![tree[..end].trim_end_matches(':').to_owned()];
    };
    let (mut depth, mut current, mut paths) = (0_usize, String::new(), Vec::new());
    for c in inside.chars() {
        match c {
            ',' | '}' if depth == 0 => {
                let leaves = expanded(&std::mem::take(&mut current));
                paths.extend(leaves.into_iter().filter(|leaf| !leaf.is_empty()));
                if c == '}' {
                    break;
                }
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        current.push(c);
    }
    paths.into_iter().map(|path| format!("{head}{path}")).collect()
}

#[test]
fn the_map_has_each_file_and_no_other() {
    let maps = maps();
    assert!(!maps.is_empty());
    for rooms in maps {
        let files = files_in(&rooms.source, &rooms.source);
        let missing: Vec<_> = files.iter().filter(|file| rooms.place(file).is_none()).collect();
        assert_eq!(missing, [""; 0], "not on the map of {}", rooms.source.display());
        let gone = |file: &&String| !files.iter().any(|present| stands_for(file, present));
        let gone: Vec<_> = rooms.files.iter().filter(gone).collect();
        assert_eq!(gone, [""; 0], "on the map, but not in {}", rooms.source.display());
    }
}

/// The file that a path like `a::b::Type` leads to.
fn resolve(path: &str, files: &BTreeSet<String>) -> Option<String> {
    let parts: Vec<_> = path.split("::").collect();
    (1..=parts.len()).rev().map(|length| parts[..length].join("/")).find(|module| files.contains(module))
}

/// Whether an entry of the list is this file, or the folder that it is in.
fn stands_for(listed: &str, present: &str) -> bool {
    match listed.strip_suffix('/') {
        Some(folder) => present == folder || present.starts_with(listed),
        None => listed == present,
    }
}

#[test]
fn imports_run_down_the_map() {
    let mut upward = Vec::new();
    for rooms in maps() {
        let files = files_in(&rooms.source, &rooms.source);
        for module in &files {
            let file = rooms.source.join(format!("{module}.rs"));
            let file = if file.is_file() { file } else { rooms.source.join(module).join("mod.rs") };
            let from = rooms.place(module).expect("it is on the map");
            for import in imports(&code(&file), module) {
                let Some(target) = resolve(&import, &files) else { continue };
                let to = rooms.place(&target).expect("it is on the map");
                if to < from {
                    upward.push(format!("{}: {module} imports {target}", rooms.source.display()));
                }
            }
        }
    }
    assert_eq!(upward, [""; 0]);
}

#[test]
fn a_tree_of_imports_is_read_as_its_paths() {
    let code = "use crate::a::{B, c::{D, e}};\nfn f() { crate::g::h(super::i::J) }\n";
    assert_eq!(imports(code, "k/l"), ["a::B", "a::c::D", "a::c::e", "g::h", "k::i::J"]);
}
