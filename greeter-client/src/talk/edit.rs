//! Changes to the lines of a script that leave every other byte of its file as it is.

use std::collections::BTreeMap;
use std::fmt;

use super::diagnostic::{Diagnostic, Diagnostics, LineDiagnostic, Severity};
use super::discover::markdown;
use super::parse;
use super::script::Script;
use super::source::{BYTE_ORDER_MARK, Source, blanks};
use crate::net::escape::one_line;

/// Lines of a script to be replaced, inserted and deleted.
///
/// ```
/// use greeter_client::talk::{Edits, Script};
///
/// let script = Script::parse("hello.talk", "# One name, one greeting.\n> Bob\n< Hello, Rob\n")?;
/// let mut edits = Edits::default();
/// edits.replace(3, ["< Hello, Bob"]);
/// assert_eq!(edits.apply(script.source()), b"# One name, one greeting.\n> Bob\n< Hello, Bob\n");
/// assert_eq!(edits.diff(script.source()).to_string(), "  3 - < Hello, Rob\n    + < Hello, Bob\n");
/// # Ok::<(), greeter_client::talk::Diagnostics>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits(BTreeMap<usize, Edit>);

/// What is done at one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Edit {
    before: Vec<String>,
    /// What stands there from now on.
    instead: Option<Vec<String>>,
    after: Vec<String>,
}

impl Edits {
    /// Replaces a line, which counts from 1, by `lines`. Without any, it is deleted.
    pub fn replace(&mut self, line: usize, lines: impl IntoIterator<Item = impl Into<String>>) {
        self.0.entry(line).or_default().instead = Some(lines.into_iter().map(Into::into).collect());
    }

    /// Inserts `lines` before a line, behind what was inserted there before.
    pub fn insert_before(&mut self, line: usize, lines: impl IntoIterator<Item = impl Into<String>>) {
        self.0.entry(line).or_default().before.extend(lines.into_iter().map(Into::into));
    }

    /// Inserts `lines` after a line, behind what was inserted there before.
    pub fn insert_after(&mut self, line: usize, lines: impl IntoIterator<Item = impl Into<String>>) {
        self.0.entry(line).or_default().after.extend(lines.into_iter().map(Into::into));
    }

    /// Returns whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many lines are removed and how many added.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let removed = self.0.values().filter(|edit| edit.instead.is_some()).count();
        (removed, self.0.values().flat_map(Edit::added).count())
    }

    /// Adds the edits of another script in the same file.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Returns the whole file with these edits. New lines are indented and end as the lines do that
    /// they stand at, and in Markdown they stand in the same quotes and lists.
    ///
    /// # Panics
    ///
    /// If the source does not have the lines.
    #[must_use]
    pub fn apply(&self, source: &Source) -> Vec<u8> {
        let mut text = Vec::with_capacity(source.text().len());
        let mut copied = 0;
        for (&line, edit) in &self.0 {
            let place = source.bytes_of(line);
            text.extend_from_slice(&source.text()[copied..place.start]);
            edit.apply(source, line, &mut text);
            copied = place.end;
        }
        text.extend_from_slice(&source.text()[copied..]);
        text
    }

    /// Returns a diff: what is removed (`-`) and what is added (`+`), a line each, with the number
    /// of the line it happens at. It is harmless on a terminal.
    #[must_use]
    pub fn diff<'a>(&'a self, source: &'a Source) -> Diff<'a> {
        Diff { edits: self, source }
    }

    /// The script with these edits.
    pub(crate) fn parse(&self, script: &Script) -> Result<Script, Diagnostics> {
        let own = script.source();
        let source = Source::new(own.name.clone(), own.path.clone(), self.apply(own).into());
        let Some(block) = own.block() else { return parse::build_script(script.name.clone(), source) };
        let (removed, added) = self.counts();
        let lines = own.lines.start..own.lines.end + added - removed;
        match markdown::scripts(&source)?.into_iter().find(|script| script.lines == lines) {
            Some(block) => parse::build_script(script.name.clone(), block),
            None => {
                let diagnostic = LineDiagnostic::new(
                    0..own.line(block.fence).len(),
                    "with these lines the block would end elsewhere",
                );
                Err(Diagnostics(vec![Diagnostic::new(Severity::Error, own, block.fence, diagnostic)]))
            }
        }
    }
}

impl Edit {
    fn added(&self) -> impl Iterator<Item = &String> {
        self.before.iter().chain(self.instead.iter().flatten()).chain(&self.after)
    }

    fn apply(&self, source: &Source, line: usize, text: &mut Vec<u8>) {
        let mark = mark(source, line);
        let old = &source.text()[source.bytes_of(line)][mark.len()..];
        let (indent, ending) = (indent(source, line), ending(source, line));
        let push = |text: &mut Vec<u8>, lines: &[String]| {
            lines.iter().for_each(|line| text.extend([indent, line.as_bytes(), ending].concat()));
        };
        text.extend_from_slice(mark);
        push(text, &self.before);
        match &self.instead {
            Some(lines) => push(text, lines),
            None => text.extend_from_slice(old),
        }
        if self.instead.is_none() && !self.after.is_empty() && !old.ends_with(b"\n") {
            text.extend_from_slice(ending);
        }
        push(text, &self.after);
    }
}

/// The byte order mark, if the line starts with it.
fn mark(source: &Source, line: usize) -> &[u8] {
    let length = if line == 1 && source.text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    &source.text[..length]
}

/// What stands before the text of a line. One without a text does not show all that one in a block
/// needs.
fn indent(source: &Source, line: usize) -> &[u8] {
    let (margin, text) = (source.margin(line), source.line(line));
    match source.block_at(line) {
        Some(block) if blanks(text) == text.len() => block.prefix(false),
        _ => {
            let start = source.bytes_of(line).start + mark(source, line).len();
            &source.text[start..start + margin.len() + blanks(text)]
        }
    }
}

/// How a line ends: if it is the last and does not, as the first one does.
fn ending(source: &Source, line: usize) -> &'static [u8] {
    let line = if source.text()[source.bytes_of(line)].ends_with(b"\n") { line } else { 1 };
    if source.text()[source.bytes_of(line)].ends_with(b"\r\n") { b"\r\n" } else { b"\n" }
}

/// A diff of [`Edits`]; see [`Edits::diff`].
#[derive(Clone, Copy, Debug)]
pub struct Diff<'a> {
    edits: &'a Edits,
    source: &'a Source,
}

impl fmt::Display for Diff<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.edits.0.keys().next_back().map_or(0, |line| line.to_string().len());
        for (line, edit) in &self.edits.0 {
            let mut number = line.to_string();
            let removed = edit.instead.as_ref().map(|_| ("-", one_line(self.source.line(*line))));
            let before = edit.before.iter().map(|line| ("+", one_line(line.as_bytes())));
            let instead = edit.instead.iter().flatten().chain(&edit.after).map(|line| ("+", one_line(line.as_bytes())));
            for (sign, text) in before.chain(removed).chain(instead) {
                writeln!(f, "  {number:>width$} {sign} {text}")?;
                number.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody who blesses writes such a line; if one did, the rest of the block would become part
    /// of the page.
    #[test]
    fn a_line_that_would_end_the_block_is_refused() {
        let page = Source::new("page.md".into(), None, b"> ```talk\n> > a\n> < b\n> ```\n".as_slice().into());
        let block = markdown::scripts(&page).unwrap().remove(0);
        let script = parse::build_script("page.md:1".to_owned(), block).unwrap();
        for (line, is_refused) in [("< c", false), ("```", true)] {
            let mut edits = Edits::default();
            edits.replace(3, [line]);
            let told = edits.parse(&script).map_err(|diagnostics| diagnostics.to_string());
            let refused = "page.md:1:1: error: with these lines the block would end elsewhere\n  ";
            assert_eq!(told.is_err_and(|told| told.starts_with(refused)), is_refused, "{line}");
        }
    }
}
