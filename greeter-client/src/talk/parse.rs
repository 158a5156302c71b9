//! Turns texts into scripts: line by line, then the files that are included, then what only all
//! lines together show. It must not know where files come from but for those that a script
//! includes.

mod connect;
pub(super) mod line;
mod values;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check;
use super::diagnostic::{Diagnostic, Diagnostics, LineDiagnostic, Severity};
use super::limits::{MAX_DIAGNOSTICS, MAX_INCLUDE_DEPTH, MAX_INCLUDES, MAX_SCRIPT_BYTES, MAX_STEPS};
use super::pattern::PatternCache;
use super::script::{Action, ConnectionName, Incoming, Outgoing, Script, Step};
use super::source::{Source, blanks, is_blank, trim_end};
use crate::net::escape;
use line::Statement;

/// An error of loading a script.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// A file or a folder cannot be read.
    #[error("cannot read {}", escape::path(path))]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder or a Markdown file that was asked for holds no script.
    #[error("{} holds no script", escape::path(path))]
    NoScript {
        /// Which one.
        path: PathBuf,
    },
    /// It was read, and something is wrong with it.
    #[error(transparent)]
    Diagnostics(#[from] Diagnostics),
}

impl Script {
    /// Parses `text`, which is called `name` in messages. It can include nothing, for it has no
    /// folder, and nothing is read.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, warnings among it; see [`crate::talk`] for what is right.
    pub fn parse(name: &str, text: impl AsRef<[u8]>) -> Result<Self, Diagnostics> {
        build_script(name.to_owned(), Source::new(name.into(), None, text.as_ref().into()))
    }

    /// Reads and parses the script at `path`, and what it includes.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), and where the file cannot be read. An included file that cannot
    /// be read is an error of the line that includes it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ScriptError> {
        let path = path.as_ref();
        let source = read_source(path).map_err(|source| ScriptError::Read { path: path.to_owned(), source })?;
        Ok(build_script(source.name.to_string(), source)?)
    }
}

/// Reads a file; all of it is the script.
pub(super) fn read_source(path: &Path) -> io::Result<Source> {
    let mut text = Vec::new();
    // One byte more than may be, so that too much is noticed and an endless file ends.
    File::open(path)?.take(MAX_SCRIPT_BYTES as u64 + 1).read_to_end(&mut text)?;
    if text.len() > MAX_SCRIPT_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {MAX_SCRIPT_BYTES} bytes")));
    }
    Ok(Source::new(path.display().to_string().into(), Some(path.to_owned()), text.into()))
}

/// Makes a script of a text and of what it includes.
pub(super) fn build_script(name: String, source: Source) -> Result<Script, Diagnostics> {
    let mut builder = ScriptBuilder::default();
    let own = builder.add(source);
    builder.flatten(own, None);
    count_groups(&mut builder.steps);
    if builder.diagnostics.iter().all(|diagnostic| diagnostic.severity() == Severity::Warning) {
        let found = check::check(&builder.steps, &builder.sources);
        let found: Vec<_> =
            found.into_iter().map(|(step, diagnostic)| (step.source as usize, step.line, diagnostic)).collect();
        found.into_iter().for_each(|(source, line, diagnostic)| builder.report(source, line, diagnostic));
    }
    let ScriptBuilder { sources, steps, mut diagnostics, .. } = builder;
    // Of each file in the order of its lines; files in the order in which they were met.
    diagnostics.sort_by_key(|diagnostic| {
        let file = sources.iter().position(|source| *source.name == *diagnostic.file());
        (file, diagnostic.line())
    });
    // A file that is included twice has its diagnostics once.
    diagnostics.dedup();
    if diagnostics.iter().any(|diagnostic| diagnostic.severity() == Severity::Error) {
        diagnostics.truncate(MAX_DIAGNOSTICS);
        return Err(Diagnostics(diagnostics));
    }
    Ok(Script { name, sources, steps, warnings: diagnostics })
}

/// The diagnostic, at what stands on its line.
fn whole_line(line: &[u8], diagnostic: LineDiagnostic) -> LineDiagnostic {
    LineDiagnostic { at: blanks(line)..trim_end(line).len(), ..diagnostic }
}

/// A line that does something.
#[derive(Debug)]
struct ParsedLine {
    line: u32,
    title: Option<Arc<str>>,
    what: LineContent,
}

#[derive(Debug)]
enum LineContent {
    Include(String),
    Action(Action),
}

#[derive(Debug, Default)]
struct ScriptBuilder {
    sources: Vec<Arc<Source>>,
    /// What each of the sources says.
    entries: Vec<Arc<Vec<ParsedLine>>>,
    /// Where the files are in `sources` that have been read: each is, once.
    known: HashMap<PathBuf, usize>,
    /// The sources that are being put together, each included by the one before it.
    chain: Vec<usize>,
    /// How often something has been included.
    includes: usize,
    steps: Vec<Step>,
    diagnostics: Vec<Diagnostic>,
    cache: PatternCache,
}

impl ScriptBuilder {
    /// Parses a source line by line.
    fn add(&mut self, source: Source) -> usize {
        let index = self.sources.len();
        let parsed = parse_lines(&source, &mut self.cache);
        self.diagnostics.extend(parsed.diagnostics);
        self.entries.push(Arc::new(parsed.entries));
        self.sources.push(Arc::new(source));
        index
    }

    /// Appends the steps of a source, those of its includes in their places.
    fn flatten(&mut self, index: usize, title: Option<&Arc<str>>) {
        self.chain.push(index);
        let source = u32::try_from(index).expect("there are fewer sources than steps");
        for entry in self.entries[index].clone().iter() {
            if self.steps.len() >= MAX_STEPS {
                let diagnostic =
                    LineDiagnostic::new(0..0, format!("with what it includes, a script can have {MAX_STEPS} steps"));
                self.report(index, entry.line, diagnostic);
                break;
            }
            let title = entry.title.as_ref().or(title);
            match &entry.what {
                LineContent::Action(action) => {
                    self.steps.push(Step { source, line: entry.line, title: title.cloned(), action: action.clone() });
                }
                LineContent::Include(path) => match self.include(index, path) {
                    Ok(included) => self.flatten(included, title),
                    Err(diagnostic) => self.report(index, entry.line, diagnostic),
                },
            }
            if self.diagnostics.len() > MAX_DIAGNOSTICS {
                break;
            }
        }
        self.chain.pop();
    }

    /// The source at `path` as it stands in another one, unless that is including it already.
    fn include(&mut self, from: usize, path: &str) -> Result<usize, LineDiagnostic> {
        let diagnostic = |message: String| LineDiagnostic::new(0..0, message);
        let Some(file) = &self.sources[from].path else {
            return Err(diagnostic("a script that is no file can include nothing".into()));
        };
        let path = file.parent().unwrap_or(Path::new("")).join(path);
        let cannot = |err: &io::Error| diagnostic(format!("cannot read {}: {err}", escape::path(&path)));
        // However a file is written, it is the same file.
        let canonical = path.canonicalize().map_err(|err| cannot(&err))?;
        let root = self.sources[self.chain[0]].path.as_ref().and_then(|root| root.canonicalize().ok());
        let known = if root.as_ref() == Some(&canonical) { Some(0) } else { self.known.get(&canonical).copied() };
        if let Some(known) = known.filter(|known| self.chain.contains(known)) {
            let start = self.chain.iter().position(|&index| index == known).unwrap_or(0);
            return Err(diagnostic(format!("this includes itself: {}", self.chain_text(&self.chain[start..], known))));
        }
        if self.chain.len() > MAX_INCLUDE_DEPTH {
            let message = format!("includes are more than {MAX_INCLUDE_DEPTH} deep");
            return Err(diagnostic(message).help(self.chain_text(&self.chain, from)));
        }
        self.includes += 1;
        if self.includes > MAX_INCLUDES {
            return Err(diagnostic(format!("a script can include at most {MAX_INCLUDES} times, in all its files")));
        }
        if let Some(known) = known {
            return Ok(known);
        }
        let source = read_source(&path).map_err(|err| cannot(&err))?;
        let index = self.add(source);
        self.known.insert(canonical, index);
        Ok(index)
    }

    fn chain_text(&self, chain: &[usize], last: usize) -> String {
        let names = chain.iter().chain([&last]).map(|&index| &*self.sources[index].name);
        names.map(|name| escape::one_line(name.as_bytes()).to_string()).collect::<Vec<_>>().join(" -> ")
    }

    fn report(&mut self, source: usize, line: u32, diagnostic: LineDiagnostic) {
        let source = &self.sources[source];
        let text = source.line(line as usize);
        let diagnostic = whole_line(text, diagnostic);
        self.diagnostics.push(Diagnostic::new(Severity::Error, source, line as usize, diagnostic));
    }
}

/// What is wrong with the lines of `source`, each for itself.
pub(super) fn check_lines(source: &Source) -> Result<(), Diagnostics> {
    let diagnostics = parse_lines(source, &mut PatternCache::default()).diagnostics;
    let bad = diagnostics.iter().any(|diagnostic| diagnostic.severity() == Severity::Error);
    if bad { Err(Diagnostics(diagnostics)) } else { Ok(()) }
}

struct ParsedLines {
    entries: Vec<ParsedLine>,
    diagnostics: Vec<Diagnostic>,
}

/// Parses each line for itself. What is wrong in one says nothing about the next.
fn parse_lines(source: &Source, cache: &mut PatternCache) -> ParsedLines {
    let mut lines = ParsedLines { entries: Vec::new(), diagnostics: Vec::new() };
    let mut title = Title::default();
    let located = |severity, line, diagnostic| Diagnostic::new(severity, source, line, diagnostic);
    if let Some(diagnostic) = wide_text(source) {
        lines.diagnostics.push(located(Severity::Error, 1, diagnostic));
        return lines;
    }
    lines
        .diagnostics
        .extend(mixed_endings(source).map(|(line, diagnostic)| located(Severity::Warning, line, diagnostic)));
    for line in source.lines() {
        let text = source.line(line);
        let what = match line::parse(text, cache) {
            Ok(Statement::Blank) => {
                title.ends();
                continue;
            }
            Ok(Statement::Comment(comment)) => {
                title.add(comment);
                continue;
            }
            Ok(Statement::Include(path)) => LineContent::Include(path),
            Ok(Statement::Action(action)) => {
                lines
                    .diagnostics
                    .extend(warning_of(text, &action).map(|diagnostic| located(Severity::Warning, line, diagnostic)));
                LineContent::Action(action)
            }
            Err(diagnostic) => {
                lines.diagnostics.push(located(Severity::Error, line, diagnostic));
                title.ends();
                if lines.diagnostics.len() > MAX_DIAGNOSTICS {
                    break;
                }
                continue;
            }
        };
        let line = u32::try_from(line).expect("a script has fewer bytes than 4 GiB");
        lines.entries.push(ParsedLine { line, title: title.text(), what });
    }
    lines
}

/// The last comment: lines that follow each other are one.
#[derive(Debug, Default)]
struct Title {
    text: Option<Arc<str>>,
    lines: Vec<String>,
    ended: bool,
}

impl Title {
    fn add(&mut self, comment: &[u8]) {
        if std::mem::take(&mut self.ended) {
            self.lines.clear();
        }
        let comment = String::from_utf8_lossy(comment);
        let comment = comment.trim_start_matches('#').trim();
        if !comment.is_empty() {
            self.lines.push(comment.to_owned());
        }
    }

    fn ends(&mut self) {
        if !self.lines.is_empty() {
            self.text = Some(self.lines.join(" ").into());
            self.lines.clear();
        }
        self.ended = true;
    }

    fn text(&mut self) -> Option<Arc<str>> {
        self.ends();
        self.text.clone()
    }
}

fn wide_text(source: &Source) -> Option<LineDiagnostic> {
    let is_wide = source.text.starts_with(b"\xff\xfe") || source.text.starts_with(b"\xfe\xff");
    is_wide.then(|| LineDiagnostic::new(0..2, "this looks like UTF-16").help("save it as UTF-8"))
}

/// The first line that ends otherwise than the first one.
fn mixed_endings(source: &Source) -> Option<(usize, LineDiagnostic)> {
    let ending = |line: usize| {
        let text = &source.text[source.bytes_of(line)];
        text.ends_with(b"\n").then(|| text.ends_with(b"\r\n"))
    };
    let first = ending(source.lines().next()?)?;
    let odd = source.lines().find(|&line| ending(line).is_some_and(|ending| ending != first))?;
    let words = |crlf| if crlf { "CR LF" } else { "LF" };
    let end = source.line(odd).len();
    let message = format!("this line ends with {}, the first one with {}", words(!first), words(first));
    let help = "neither is part of what the line says; a CR that is meant is written in the raw form: \\r";
    Some((odd, LineDiagnostic::new(end..end, message).help(help)))
}

/// Tells each line of those that may come in any order how many more of them follow.
fn count_groups(steps: &mut [Step]) {
    let mut behind: Option<(u32, ConnectionName, usize)> = None;
    for step in steps.iter_mut().rev() {
        let source = step.source;
        let Action::Expect { from, what: Incoming::AnyOrder { more, .. } } = &mut step.action else {
            behind = None;
            continue;
        };
        *more = match &behind {
            Some((file, connection_name, count)) if (*file, connection_name) == (source, from) => count + 1,
            _ => 0,
        };
        behind = Some((source, from.clone(), *more));
    }
}

/// What can be run but was probably not meant.
fn warning_of(line: &[u8], action: &Action) -> Option<LineDiagnostic> {
    let sign_bytes = match action {
        Action::Send { what: Outgoing::Line(_), .. } | Action::Expect { what: Incoming::Line(_), .. } => 1,
        Action::Expect { what: Incoming::Optional(_) | Incoming::Never(_) | Incoming::AnyOrder { .. }, .. } => 2,
        _ => return None,
    };
    let sign = line.iter().position(|byte| matches!(byte, b'<' | b'>')).expect("a data line has a direction");
    let text = line.get(sign + sign_bytes + 1..).unwrap_or_default();
    if line.last().is_some_and(|&byte| is_blank(byte)) {
        let at = trim_end(line).len()..line.len();
        return Some(match text {
            [] => LineDiagnostic::new(at, "the blank at the end has no meaning"),
            _ => LineDiagnostic::new(at, "the blanks at the end are part of the line")
                .help("where they are meant, the raw form shows them, as in \"Bob  \\n\""),
        });
    }
    let literal = [&b"\\r\\n"[..], b"\\n"].into_iter().find(|ending| text.ends_with(ending))?;
    let at = line.len() - literal.len()..line.len();
    let message = format!("{} is literal here: a backslash and a letter", String::from_utf8_lossy(literal));
    Some(
        LineDiagnostic::new(at, message)
            .help("a line's ending is added; escapes belong into the raw form, in double quotes"),
    )
}
