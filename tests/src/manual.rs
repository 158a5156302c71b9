//! Turns what the programs say of themselves (`--help`) and the documents into manual pages, in the
//! language mdoc(7). It must not know anything that it writes, so that nothing is written twice.

mod help;
mod markdown;
mod mdoc;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use help::HelpText;
use mdoc::Mdoc;

/// The day of the latest release, or of what is to become one.
const DATE: &str = "December 1, 2026";

/// What a page is made of.
pub struct ManualPage {
    /// What it is about: a program, or a kind of file.
    pub name: &'static str,
    /// The section of the manual: 1 for commands, 5 for files, 8 for servers.
    pub section: u8,
    /// The folder of its file, in the workspace.
    pub folder: &'static str,
    about: About,
    /// Whose sections follow, and which: all but these, or only these.
    document: &'static str,
    sections: Sections,
    see_also: &'static [(&'static str, u8)],
}

enum About {
    /// What `--help` says, and that of each command.
    Program,
    /// One line.
    File(&'static str),
}

enum Sections {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

/// All there are.
pub const PAGES: [ManualPage; 4] = [
    ManualPage {
        name: "greeter-server",
        section: 8,
        folder: "greeter-server/packaging",
        about: About::Program,
        document: "docs/server.md",
        sections: Sections::Only(&[
            "Where to listen",
            "Behind a proxy",
            "TLS",
            "How it ends",
            "Under systemd",
            "Watching it",
            "The log",
        ]),
        see_also: &[("greeter-client", 1), ("greeter.toml", 5), ("systemd.service", 5), ("systemd.socket", 5)],
    },
    ManualPage {
        name: "greeter.toml",
        section: 5,
        folder: "greeter-server/packaging",
        about: About::File("options of greeter-server"),
        document: "docs/server.md",
        sections: Sections::Only(&["Configuration file"]),
        see_also: &[("greeter-server", 8)],
    },
    ManualPage {
        name: "greeter-client",
        section: 1,
        folder: "greeter-client/packaging",
        about: About::Program,
        document: "docs/client.md",
        sections: Sections::Only(&["Addresses", "The pipe", "The prompt", "TLS"]),
        see_also: &[("greeter-talk", 5), ("greeter-server", 8)],
    },
    ManualPage {
        name: "greeter-talk",
        section: 5,
        folder: "greeter-client/packaging",
        about: About::File("transcripts of sessions with a line server"),
        document: "docs/talk.md",
        sections: Sections::AllBut(&["From Rust"]),
        see_also: &[("greeter-client", 1)],
    },
];

impl ManualPage {
    /// The file of the page.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        root().join(self.folder).join(format!("{}.{}", self.name, self.section))
    }

    /// Makes the page anew. `program` is where its program is, if it is about one.
    ///
    /// # Panics
    ///
    /// When the program does not say what help says, or the document is not there.
    #[must_use]
    pub fn text(&self, program: &Path) -> String {
        let mut page = Mdoc::new(DATE, self.name, self.section);
        let document = fs::read_to_string(root().join(self.document)).expect("the document is there");
        let is_wanted = |heading: &str| match self.sections {
            Sections::Only(wanted) => wanted.contains(&heading),
            Sections::AllBut(unwanted) => !unwanted.contains(&heading),
        };
        match self.about {
            About::Program => {
                let help = help_of(program, None);
                page.name(self.name, &help.about_in_a_line());
                help.write_synopsis(&mut page);
                help.write_description(&mut page);
                help.write_options(&mut page);
                if !help.commands.is_empty() {
                    page.section("COMMANDS");
                    help.commands.iter().for_each(|name| help_of(program, Some(name)).write_command(name, &mut page));
                }
                markdown::write(&document, is_wanted, &mut page);
                help.write_exit_status(&mut page);
                help.write_examples(&mut page);
            }
            About::File(line) => {
                page.name(self.name, line);
                page.section("DESCRIPTION");
                markdown::write(&document, is_wanted, &mut page);
            }
        }
        page.see_also(self.see_also);
        page.text()
    }
}

/// Makes the file of options anew that is installed: all of them as comments, each with what the
/// help says of it and its default.
///
/// # Panics
///
/// When the program does not say what help says.
#[must_use]
pub fn config_file(program: &Path) -> String {
    let output = Command::new(program).arg("--print-config").output().expect("the program can be started");
    let defaults = String::from_utf8(output.stdout).expect("options are text");
    help_of(program, None).config_file(&defaults)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn help_of(program: &Path, command: Option<&str>) -> HelpText {
    let output = Command::new(program).args(command).arg("--help").output().expect("the program can be started");
    HelpText::parse(&String::from_utf8(output.stdout).expect("a help is text"))
}
