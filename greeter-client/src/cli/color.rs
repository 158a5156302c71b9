//! Colours for what people read: reports, diagnostics, errors. Never for data.
//!
//! What is printed is the text as the library has it, and its lines are told apart by how they
//! begin: the same text in black and white is what documents and tests show.

use std::fmt::{Display, Write as _};
use std::io::{self, Stdout, Write};
use std::str::FromStr;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use greeter_client::escape;
use greeter_client::report::ReportFormat;
use greeter_client::talk::{Diagnostic, Severity};

const BAD: Style = AnsiColor::Red.on_default();
const VERY_BAD: Style = BAD.bold();
const GOOD: Style = AnsiColor::Green.on_default();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();
const HELPFUL: Style = AnsiColor::Cyan.on_default();
const STRONG: Style = Style::new().bold();
const PLAIN: Style = Style::new();

/// When there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Color(ColorChoice);

impl Color {
    /// On a terminal that has colours, unless NO_COLOR says otherwise; CLICOLOR_FORCE asks for them
    /// everywhere.
    pub(super) const AUTO: Self = Self(ColorChoice::Auto);
    pub(super) const NAMES: [&'static str; 3] = ["auto", "always", "never"];

    /// Makes it the choice of this process.
    pub(super) fn apply(self) {
        self.0.write_global();
    }
}

impl FromStr for Color {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::AUTO),
            "always" => Ok(Self(ColorChoice::Always)),
            "never" => Ok(Self(ColorChoice::Never)),
            _ => Err(format!("write {}", Self::NAMES.join(", "))),
        }
    }
}

/// Whether what people read is coloured there.
pub(super) fn is_colored(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Where a report of `run` goes: stdout, and what is for people is coloured on its way.
pub(super) fn report(format: ReportFormat) -> Box<dyn Write> {
    let stdout = io::stdout();
    match format {
        ReportFormat::Text if is_colored(&stdout) => Box::new(Painter(AutoStream::always(stdout))),
        _ => Box::new(stdout),
    }
}

/// Paints a report, of which it is given whole lines.
struct Painter(AutoStream<Stdout>);

impl Write for Painter {
    fn write(&mut self, report: &[u8]) -> io::Result<usize> {
        self.0.write_all(paint(in_report, &String::from_utf8_lossy(report)).as_bytes())?;
        Ok(report.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints what has been changed in a file, on stderr.
pub(super) fn tell_change(change: &str) {
    tell(change, |text| paint(in_change, text));
}

/// Prints a diagnostic of a script on stderr. Where that is closed or full, the status still tells.
pub(super) fn tell_diagnostic(diagnostic: &Diagnostic) {
    tell(&format!("{diagnostic}\n"), |text| paint_diagnostic(diagnostic.severity(), text));
}

/// Prints an error on stderr. Where that is closed or full, the status still tells.
pub(crate) fn tell_error(error: impl Display) {
    tell(&format!("error: {error}\n"), |text| text.replacen("error:", &painted(VERY_BAD, "error:"), 1));
}

/// Whatever the text quotes, it is harmless here at the latest.
fn tell(text: &str, paint: impl FnOnce(&str) -> String) {
    let text = escape::text(text.as_bytes()).to_string();
    let mut stderr = io::stderr();
    let _ = if is_colored(&stderr) {
        AutoStream::always(stderr).write_all(paint(&text).as_bytes())
    } else {
        stderr.write_all(text.as_bytes())
    };
}

fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// How the start of a line, or all of it, is painted.
enum Paint {
    Start(Style),
    Line(Style),
}

/// How each line of a report that begins like this is painted.
const REPORT: [(&str, Paint); 10] = [
    ("FAIL ", Paint::Start(VERY_BAD)),
    ("fail ", Paint::Start(DOUBTFUL)),
    ("ok ", Paint::Start(GOOD)),
    ("skip ", Paint::Start(DOUBTFUL)),
    ("  # ", Paint::Line(STRONG)),
    ("    - ", Paint::Line(BAD)),
    ("    + ", Paint::Line(GOOD)),
    ("  hint:", Paint::Start(HELPFUL)),
    ("  accept it with:", Paint::Start(HELPFUL)),
    ("  help:", Paint::Start(HELPFUL)),
];

/// How much of a line of a report is painted, and how.
fn in_report(line: &str) -> (usize, Style) {
    match REPORT.iter().find(|(start, _)| line.starts_with(start)) {
        Some((start, Paint::Start(style))) => (start.len(), *style),
        Some((_, Paint::Line(style))) => (line.len(), *style),
        None if is_caret(line) => (line.len(), VERY_BAD),
        None => (0, PLAIN),
    }
}

/// The same of a change, where a line may begin with its number.
fn in_change(line: &str) -> (usize, Style) {
    const ERROR: &str = "error:";
    match line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).as_bytes() {
        [b'-', b' ', ..] => (line.len(), BAD),
        [b'+', b' ', ..] => (line.len(), GOOD),
        _ if line.starts_with(ERROR) => (ERROR.len(), VERY_BAD),
        _ => (0, PLAIN),
    }
}

fn paint(how: impl Fn(&str) -> (usize, Style), plain: &str) -> String {
    let mut text = String::with_capacity(plain.len() * 2);
    for line in plain.split_inclusive('\n') {
        let (line, ending) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let (length, style) = how(line);
        let (painted, rest) = line.split_at(length);
        write!(text, "{style}{painted}{style:#}{rest}{ending}").expect("a string takes everything");
    }
    text
}

fn is_caret(line: &str) -> bool {
    line.contains('^') && line.bytes().all(|byte| matches!(byte, b' ' | b'^'))
}

fn paint_diagnostic(severity: Severity, diagnostic: &str) -> String {
    let style = match severity {
        Severity::Error => VERY_BAD,
        Severity::Warning => DOUBTFUL,
    };
    let label = format!("{severity}:");
    let (first, rest) = diagnostic.split_once('\n').unwrap_or((diagnostic, ""));
    format!("{}\n{}", first.replacen(&label, &painted(style, &label), 1), paint(in_report, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_keeps_its_text() {
        let report = "FAIL a.talk  (1 ms)\n  # Title.\n  a.talk:3  on bob\n      bob> Bob\n    - bob< a\n    + bob< b\n    \
            \x20     ^\n  hint: do it\nok   b.talk  (1 ms)\nskip c.talk  (no)\n\n1 script";
        let painted = paint(in_report, report);
        assert_eq!(anstream::adapter::strip_str(&painted).to_string(), report);
        for (line, start) in [
            ("FAIL", "\x1b[1m\x1b[31mFAIL \x1b[0m"),
            ("- bob", "\x1b[31m    - bob< a\x1b[0m\n"),
            ("+ bob", "\x1b[32m    + bob< b\x1b[0m\n"),
            ("^", "\x1b[1m\x1b[31m          ^\x1b[0m\n"),
            ("hint", "\x1b[36m  hint:\x1b[0m do it\n"),
            ("ok", "\n\x1b[32mok \x1b[0m  b.talk"),
            ("> Bob", "\n      bob> Bob\n"),
        ] {
            assert!(painted.contains(start), "{line}: {}", painted.escape_debug());
        }
    }

    #[test]
    fn every_name_is_a_choice() {
        for name in Color::NAMES {
            assert!(name.parse::<Color>().is_ok());
        }
        assert_eq!("yes".parse::<Color>(), Err("write auto, always, never".to_owned()));
    }
}
