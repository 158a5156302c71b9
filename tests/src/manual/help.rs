//! Turns a help text, as the binaries print it, into its parts, and these into a manual page. It
//! must not know which program it is.

use std::collections::HashMap;

use super::mdoc::{ListKind, Mdoc, bold, code, prose};

/// Where the descriptions of a help text begin.
const COLUMN: usize = 20;

/// How long a line is in a file of settings.
const COMMENT_COLUMNS: usize = 100;

/// A help text.
#[derive(Debug, Default)]
pub(super) struct HelpText {
    /// What stands behind the program's name, and behind that of its command.
    usage: String,
    about: String,
    /// Options and arguments, under their headings.
    groups: Vec<(String, Vec<HelpEntry>)>,
    /// The names of commands.
    pub(super) commands: Vec<String>,
    examples: Vec<String>,
    notes: Vec<String>,
    codes: Vec<(String, String)>,
}

#[derive(Debug)]
struct HelpEntry {
    /// An option with its value, or an argument's name.
    head: String,
    description: String,
}

impl HelpText {
    /// # Panics
    ///
    /// When it is none.
    pub(super) fn parse(text: &str) -> Self {
        let (usage, rest) = text.split_once("\n\n").expect("a help begins with the usage");
        let usage = usage.strip_prefix("Usage: ").expect("a help begins with the usage");
        let (about, rest) = rest.split_once("\n\n").expect("then it says what the program does");
        let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
        let words: Vec<&str> = usage.split(' ').skip_while(is_name).collect();
        let mut help = Self { usage: words.join(" "), about: about.replace('\n', " "), ..Self::default() };
        for section in rest.split("\n\n") {
            let (heading, lines) = section.split_once(":\n").expect("a section has a heading");
            let indented = || lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned());
            match heading {
                "Commands" => help.commands = entries(lines).into_iter().map(|entry| entry.head).collect(),
                "Examples" => help.examples = indented().collect(),
                "Notes" => help.notes = indented().collect(),
                "Error codes" => {
                    let codes = indented().filter_map(|line| {
                        line.split_once(' ').map(|(code, means)| (code.to_owned(), means.to_owned()))
                    });
                    help.codes = codes.collect();
                }
                _ => help.groups.push((heading.to_owned(), help.entries_with_values(lines))),
            }
        }
        help
    }

    /// The options of a group, each with the name of its value, which the usage may have.
    fn entries_with_values(&self, lines: &str) -> Vec<HelpEntry> {
        let brackets = self.usage.split(['[', ']']).filter_map(|option| option.split_once(' '));
        let values: HashMap<&str, &str> = brackets.filter(|(name, _)| name.starts_with('-')).collect();
        let mut entries = entries(lines);
        for entry in &mut entries {
            let value = entry.head.split(", ").find_map(|name| values.get(name));
            if let Some(value) = value.filter(|_| !entry.head.contains('<')) {
                entry.head += &format!(" {}", value.replace("...", ""));
            }
        }
        entries
    }

    /// What the program does, as far as a line has room for it.
    pub(super) fn about_in_a_line(&self) -> String {
        let end = self.about.find([':', '.']).unwrap_or(self.about.len());
        let mut chars = self.about[..end].chars();
        chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
    }

    pub(super) fn write_synopsis(&self, page: &mut Mdoc) {
        page.section("SYNOPSIS");
        page.own_name();
        page.usage("[options]");
        if !self.commands.is_empty() {
            page.usage("[<command>] [<argument...>]");
        }
    }

    pub(super) fn write_description(&self, page: &mut Mdoc) {
        page.section("DESCRIPTION");
        page.paragraph(&words(&self.about));
        self.write_notes(page);
    }

    pub(super) fn write_options(&self, page: &mut Mdoc) {
        page.section("OPTIONS");
        for (heading, entries) in &self.groups {
            if self.groups.len() > 1 {
                page.subsection(&prose(heading));
            }
            write_entries(entries, page);
        }
    }

    /// One command's help.
    pub(super) fn write_command(&self, name: &str, page: &mut Mdoc) {
        page.subsection(name);
        page.command_usage(name, &self.usage);
        page.paragraph(&words(&self.about));
        for (_, entries) in &self.groups {
            let own: Vec<_> = entries.iter().filter(|entry| !entry.head.contains("--help")).collect();
            if !own.is_empty() {
                write_entries(own, page);
            }
        }
        self.write_notes(page);
        if !self.examples.is_empty() {
            page.literal(&self.examples.join("\n"));
        }
        if !self.codes.is_empty() {
            page.paragraph("It ends with:");
            self.write_codes(page);
        }
    }

    pub(super) fn write_exit_status(&self, page: &mut Mdoc) {
        page.section("EXIT STATUS");
        self.write_codes(page);
    }

    pub(super) fn write_examples(&self, page: &mut Mdoc) {
        page.section("EXAMPLES");
        let mut typed = Vec::new();
        for line in &self.examples {
            match line.strip_prefix("    ") {
                Some(command) => typed.push(command),
                // Where what an example shows is said, what is typed is indented below.
                None if self.examples.iter().any(|line| line.starts_with("    ")) => {
                    write_typed(&mut typed, page);
                    page.paragraph(&words(line));
                }
                None => typed.push(line),
            }
        }
        write_typed(&mut typed, page);
    }

    /// The options as a file of settings in which each is a comment. `defaults` has those that have
    /// a value, as `# name = value  # default`.
    pub(super) fn config_file(&self, defaults: &str) -> String {
        let defaults: HashMap<&str, &str> = defaults
            .lines()
            .filter_map(|line| line.strip_prefix("# ")?.strip_suffix("  # default")?.split_once(" = "))
            .collect();
        let mut file = String::from(
            "# Options of greeter-server, each with its default; greeter.toml(5) tells of this file. A change\n\
             # holds when the service was reloaded or, where the log says so, started again.\n",
        );
        let groups = self.groups.iter().filter(|(heading, _)| !["Configuration", "Options"].contains(&&**heading));
        for (heading, entries) in groups {
            file += &format!("\n## {heading}\n");
            for entry in entries {
                let (name, value) = entry.head.split_once(' ').unwrap_or((&entry.head, ""));
                let name = name.trim_start_matches('-');
                let quote = if value == "<n>" { "" } else { "\"" };
                let kind = format!("{quote}{}{quote}", value.trim_matches(['<', '>']).to_uppercase());
                file += &comment(&entry.description);
                file += &format!("#{name} = {}\n", defaults.get(name).map_or(&*kind, |default| default));
            }
        }
        file
    }

    fn write_notes(&self, page: &mut Mdoc) {
        if !self.notes.is_empty() {
            page.paragraph(&words(&self.notes.join(" ")));
        }
    }

    fn write_codes(&self, page: &mut Mdoc) {
        page.list(ListKind::Named);
        for (code, means) in &self.codes {
            page.item(Some(code));
            page.paragraph(&words(means));
        }
        page.end_list();
    }
}

fn write_typed(typed: &mut Vec<&str>, page: &mut Mdoc) {
    if !typed.is_empty() {
        page.literal(&std::mem::take(typed).join("\n"));
    }
}

fn write_entries<'a>(entries: impl IntoIterator<Item = &'a HelpEntry>, page: &mut Mdoc) {
    page.list(ListKind::Named);
    for entry in entries {
        page.option_item(&entry.head);
        page.paragraph(&words(&entry.description));
    }
    page.end_list();
}

/// A description as lines of a comment, in which options have the names that they have in a file.
fn comment(description: &str) -> String {
    let mut lines = vec![String::from("\n#")];
    for word in description.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        let word = word.strip_prefix("--").unwrap_or(word);
        if last.len() + 1 + word.len() > COMMENT_COLUMNS {
            lines.push(format!("# {word}"));
        } else {
            last.push_str(&format!(" {word}"));
        }
    }
    lines.join("\n") + "\n"
}

/// What stands between backticks is code, and so are the names of options.
fn words(text: &str) -> String {
    let mut written = String::new();
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 1 {
            written += &bold(&code(part));
            continue;
        }
        for word in part.split_inclusive(' ') {
            let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            match name.strip_prefix("--") {
                Some(_) => written += &format!("{}{}", bold(&code(name)), prose(&word[name.len()..])),
                None => written += &prose(word),
            }
        }
    }
    written
}

/// The entries of a section: what is indented further goes on.
fn entries(lines: &str) -> Vec<HelpEntry> {
    let mut entries: Vec<HelpEntry> = Vec::new();
    for line in lines.lines() {
        match (entries.last_mut(), line.starts_with("   ")) {
            (Some(entry), true) => {
                entry.description += &format!(" {}", line.trim());
            }
            _ => {
                let cut = line.get(COLUMN..).filter(|rest| line[..COLUMN].ends_with(' ') && !rest.starts_with('<'));
                let head = line[..line.len() - cut.map_or(0, str::len)].trim().to_owned();
                entries.push(HelpEntry { head, description: cut.unwrap_or_default().to_owned() });
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_help_is_taken_apart() {
        let help = HelpText::parse(
            "Usage: prog run [--much-too-long-a-name <n>] [--all] [--] <file>\n\nRuns it: now.\n\n\
             Positional Arguments:\n  file              a file or\n                    a folder\n\n\
             Options:\n  --much-too-long-a-name\n                    a number\n  --all             all\n\n\
             Error codes:\n  0 all well\n\nNotes:\n  One.\n  Two.\n",
        );
        assert_eq!(help.usage, "[--much-too-long-a-name <n>] [--all] [--] <file>");
        assert_eq!(help.about_in_a_line(), "runs it");
        let entries: Vec<_> = help.groups.iter().flat_map(|(_, entries)| entries).collect();
        let entries: Vec<_> = entries.iter().map(|entry| (&*entry.head, entry.description.trim())).collect();
        assert_eq!(
            entries,
            [("file", "a file or a folder"), ("--much-too-long-a-name <n>", "a number"), ("--all", "all")]
        );
        assert_eq!(help.codes, [("0".to_owned(), "all well".to_owned())]);
        assert_eq!(help.notes, ["One.", "Two."]);
        assert_eq!(HelpText::parse("Usage: prog chat\n\nTalks.\n\nOptions:\n  --a  b\n").usage, "");
    }

    #[test]
    fn names_of_options_stand_out() {
        assert_eq!(words("see --drain, or `a-b`"), "see \\fB\\-\\-drain\\fR, or \\fBa\\-b\\fR");
    }
}
