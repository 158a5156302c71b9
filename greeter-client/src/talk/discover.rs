//! Turns paths into the scripts that a command line means by them. It must not know what a line of
//! a script says.

pub(super) mod markdown;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::parse::{ScriptError, build_script, read_source};
use super::script::Script;
use super::source::Source;

/// Loads every script at `paths`, each with what it includes, or returns what is wrong with it.
///
/// * A file is a script, whatever it is called; but
/// * in a file called `*.md` or `*.markdown`, each fenced code block marked `talk` is one, by the
///   rules of [CommonMark]: in a quote and in a list, too, but not in a comment, nor within other
///   code;
/// * in a folder, all files called `*.talk`, `*.md` and `*.markdown` are taken, and those of the
///   folders in it. What has a name with a dot in front is left out, and links to folders are not
///   followed.
///
/// Capitals make no difference in these endings. A Markdown file in UTF-16 that speaks of `talk` is
/// an error.
///
/// [CommonMark]: https://spec.commonmark.org/0.31.2/#fenced-code-blocks
///
/// The order is that of `paths`; in a folder, that of the names, byte by byte. A file that is met
/// twice is taken once. A path where there is no script at all is an error, but a Markdown file in
/// a folder need not hold one.
///
/// ```no_run
/// for script in greeter_client::talk::load_all(["docs", "tests/sessions"]) {
///     match script {
///         Ok(script) => assert!(!script.steps().is_empty()),
///         Err(err) => panic!("{err}"),
///     }
/// }
/// ```
pub fn load_all(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Vec<Result<Script, ScriptError>> {
    collect(paths, load_file)
}

/// Returns the files that [`load_all`] reads for `paths`, in its order, those of Markdown that hold
/// no script among them. A path that leads to no file at all is an error.
pub fn find_all(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Vec<Result<PathBuf, ScriptError>> {
    collect(paths, |file| vec![Ok(file.to_owned())])
}

/// What `read` makes of the files at `paths`, each once; at every path there must be something.
fn collect<T>(
    paths: impl IntoIterator<Item = impl Into<PathBuf>>,
    read: impl Fn(&Path) -> Vec<Result<T, ScriptError>>,
) -> Vec<Result<T, ScriptError>> {
    let mut all = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        let path = path.into();
        let found = if path.is_dir() { walk(&path) } else { vec![Ok(path.clone())] };
        let before = all.len();
        let mut known = false;
        for file in found {
            match file {
                Ok(file) if files.contains(&file) => known = true,
                Ok(file) => {
                    all.extend(read(&file));
                    files.push(file);
                }
                Err(err) => all.push(Err(err)),
            }
        }
        if all.len() == before && !known {
            all.push(Err(ScriptError::NoScript { path }));
        }
    }
    all
}

/// The scripts in one file.
fn load_file(path: &Path) -> Vec<Result<Script, ScriptError>> {
    if !markdown::is_markdown(path) {
        return vec![Script::load(path)];
    }
    let file = match read_source(path) {
        Ok(file) => file,
        Err(source) => return vec![Err(ScriptError::Read { path: path.to_owned(), source })],
    };
    let script = |source: Source| {
        // The line of its fence, which is the one before its first.
        let name = format!("{}:{}", file.name(), source.lines.start);
        Ok(build_script(name, source)?)
    };
    match markdown::scripts(&file) {
        Ok(scripts) => scripts.into_iter().map(script).collect(),
        Err(diagnostics) => vec![Err(diagnostics.into())],
    }
}

/// The files in `folder` that may hold scripts, in order.
fn walk(folder: &Path) -> Vec<Result<PathBuf, ScriptError>> {
    let error = |source: io::Error| vec![Err(ScriptError::Read { path: folder.to_owned(), source })];
    let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(err) => return error(err),
    };
    let mut entries: Vec<_> = entries.into_iter().filter(|entry| !is_hidden(&entry.file_name())).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(walk(&entry.path())),
            Ok(_) if is_script(&entry.path()) || markdown::is_markdown(&entry.path()) => {
                files.push(Ok(entry.path()));
            }
            Ok(_) => {}
            Err(err) => files.extend(error(err)),
        }
    }
    files
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn is_script(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("talk"))
}
