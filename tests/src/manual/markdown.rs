//! Turns sections of a Markdown document into sections of a manual page. It must not know which
//! document it is.
//!
//! What stands below a heading of the second level is a section, and what stands above the first is
//! one without a name. Links within the documents become their words. A block below a comment
//! `not in the manual` is left out.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options as Extensions, Parser, Tag, TagEnd};

use super::mdoc::{ListKind, Mdoc, bold, code, italic, prose};

/// Writes those sections of a document whose headings are wanted; the one without a name is `""`.
pub(super) fn write(document: &str, is_wanted: impl Fn(&str) -> bool, page: &mut Mdoc) {
    let mut converter = Converter { page, inline: String::new(), rows: TableRows::default(), link: None, block: None };
    let mut section = Some("");
    let mut depth = 0_usize;
    let mut left_out = false;
    let mut events = Parser::new_ext(document, Extensions::ENABLE_TABLES).into_offset_iter().peekable();
    while let Some((event, range)) = events.next() {
        if let Event::Start(Tag::Heading { level: HeadingLevel::H2, .. }) = event {
            section = Some(document[range].trim_start_matches('#').trim()).filter(|heading| is_wanted(heading));
            if let Some(heading) = section {
                converter.page.section(heading);
            }
        } else if let Event::Html(html) = &event {
            left_out = html.contains("not in the manual");
            continue;
        }
        let is_title = matches!(event, Event::Start(Tag::Heading { level: HeadingLevel::H1 | HeadingLevel::H2, .. }));
        let is_comment = matches!(event, Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock));
        let begins_left_out = left_out && depth == 0 && matches!(event, Event::Start(_));
        if is_title || (begins_left_out && !is_comment) {
            left_out = false;
            skip_block(&mut events);
        } else if section.is_some_and(|section| !section.is_empty() || is_wanted("")) && !is_comment {
            match event {
                Event::Start(_) => depth += 1,
                Event::End(_) => depth -= 1,
                _ => {}
            }
            converter.take(event);
        }
    }
}

/// Reads on until the block has ended whose start was the last event.
fn skip_block<'e>(events: &mut impl Iterator<Item = (Event<'e>, std::ops::Range<usize>)>) {
    let mut depth = 1_usize;
    while depth > 0 {
        match events.next() {
            Some((Event::Start(_), _)) => depth += 1,
            Some((Event::End(_), _)) => depth -= 1,
            Some(_) => {}
            None => return,
        }
    }
}

/// A table while it is read.
#[derive(Default)]
struct TableRows {
    head: Vec<String>,
    row: Vec<String>,
}

struct Converter<'p> {
    page: &'p mut Mdoc,
    /// What has been read of a paragraph or a cell.
    inline: String,
    rows: TableRows,
    /// Where a link leads to that is being read.
    link: Option<String>,
    /// A block of code that is being read.
    block: Option<String>,
}

impl Converter<'_> {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.block {
                Some(code) => code.push_str(&text),
                None => self.inline += &prose(&text),
            },
            Event::Code(text) => self.inline += &bold(&code(&text)),
            Event::SoftBreak | Event::HardBreak => self.inline.push(' '),
            other => panic!("nobody has said how this is to look in a manual page: {other:?}"),
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::Heading { .. } | Tag::TableHead | Tag::TableRow | Tag::TableCell => {}
            Tag::Table(_) => self.page.list(ListKind::Named),
            Tag::List(Some(_)) => self.page.list(ListKind::Numbered),
            Tag::List(None) => self.page.list(ListKind::Bullets),
            Tag::Item => self.page.item(None),
            Tag::CodeBlock(CodeBlockKind::Fenced(_) | CodeBlockKind::Indented) => self.block = Some(String::new()),
            Tag::Link { dest_url, .. } => self.link = Some(dest_url.to_string()),
            Tag::Emphasis | Tag::Strong => self.inline.push_str(if tag == Tag::Strong { "\\fB" } else { "\\fI" }),
            other => panic!("nobody has said how this is to look in a manual page: {other:?}"),
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Item => self.flush(),
            TagEnd::Heading(_) => {
                let heading = std::mem::take(&mut self.inline);
                self.page.subsection(&heading);
            }
            TagEnd::TableCell => self.rows.row.push(std::mem::take(&mut self.inline)),
            TagEnd::TableHead => self.rows.head = std::mem::take(&mut self.rows.row),
            TagEnd::TableRow => self.row(),
            TagEnd::Table | TagEnd::List(_) => {
                self.flush();
                self.page.end_list();
            }
            TagEnd::CodeBlock => self.page.literal(&as_installed(&self.block.take().unwrap_or_default())),
            TagEnd::Link => {
                if let Some(address) = self.link.take().filter(|address| address.contains("://")) {
                    self.inline += &format!(" ({})", code(&address));
                }
            }
            TagEnd::Emphasis | TagEnd::Strong => self.inline.push_str("\\fR"),
            _ => {}
        }
    }

    /// The first cell is the name, the last one what is said of it, and those between are told with
    /// their headings.
    fn row(&mut self) {
        let row = std::mem::take(&mut self.rows.row);
        let (Some(name), Some(means)) = (row.first(), row.last()) else { return };
        let between = self.rows.head.iter().zip(&row).skip(1).take(row.len().saturating_sub(2));
        let between = between.filter(|(_, cell)| !cell.is_empty());
        let between: String = between.map(|(head, cell)| format!(" ({} {cell})", italic(head))).collect();
        self.page.item(Some(&format!("{name}{between}")));
        self.page.paragraph(means);
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.inline);
        if !text.trim().is_empty() {
            self.page.paragraph(&text);
        }
    }
}

/// Whoever reads the manual has installed the programs.
fn as_installed(typed: &str) -> String {
    ["greeter-server", "greeter-client"].iter().fold(typed.to_owned(), |typed, program| {
        let run = format!("cargo run --release -p {program}");
        typed.replace(&format!("{run} -- "), &format!("{program} ")).replace(&run, program)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(document: &str, expected: &str) {
        let mut page = Mdoc::new("today", "nothing", 5);
        write(document, |heading| heading != "Unwanted", &mut page);
        let text = page.text();
        assert_eq!(text.split_once(".Os\n").unwrap().1, expected);
    }

    #[test]
    fn sections_that_are_wanted_are_in_it() {
        becomes(
            "# Title\n\nAbove. It.\n\n## Unwanted\n\nNo.\n\n### Below\n\nNo.\n\n## Wanted\n\nYes.\n\n### `1.` A part\n\nYes.\n",
            "Above.\nIt.\n.Sh \"WANTED\"\nYes.\n.Ss \"\\fB1.\\fR A part\"\nYes.\n",
        );
    }

    #[test]
    fn a_block_below_a_comment_is_left_out() {
        becomes(
            "# T\n\nOne.\n\n<!-- not in the manual -->\n| a | b |\n|---|---|\n| `c` | d |\n\nTwo.\n",
            "One.\n.Pp\nTwo.\n",
        );
        becomes("# T\n\nOne.\n\n<!-- not in the manual -->\n\nTwo, *with* `code`.\n\nThree.\n", "One.\n.Pp\nThree.\n");
    }

    #[test]
    fn tables_and_lists_are_lists() {
        becomes(
            "| option | default | does |\n|---|---|---|\n| `--a` | `1` | this |\n| `--b` | | that |\n\n- one\n  more\n- two\n\n```sh\n.Ed\n```\n",
            ".Bl -tag -width Ds\n.It \"\\fB\\-\\-a\\fR (\\fIdefault\\fR \\fB1\\fR)\"\nthis\n.It \"\\fB\\-\\-b\\fR\"\nthat\n.El\n\
             .Bl -bullet\n.It\none more\n.It\ntwo\n.El\n.Bd -literal -offset indent\n\\&.Ed\n.Ed\n",
        );
        becomes("[one](a.md#b), [two](https://c.d)\n", "one, two (https://c.d)\n");
    }
}
