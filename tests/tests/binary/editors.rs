//! The syntax file for Vim makes Vim show scripts.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use greeter_tests::directory::TestDirectory;
use greeter_tests::missing_program;

/// Writes what each line is made of: a name for each piece in which all has the same one.
const LOOK: &str = r"
for number in range(1, line('$'))
  let shown = ''
  let last = ''
  for column in range(1, len(getline(number)))
    let name = synIDattr(synID(number, column, 0), 'name')
    if name != last
      let shown .= '<' . name . '>'
      let last = name
    endif
    let shown .= getline(number)[column - 1]
  endfor
  call writefile([shown], 'shown', 'a')
endfor
qa!
";

#[test]
fn vim_tells_data_from_words() {
    if missing_program("vim", "vim") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let home = TestDirectory::new();
    // As the page on scripts says.
    fs::create_dir_all(home.file(".vim/syntax")).expect("there is room");
    let syntax = root.join("greeter-client/packaging/editors/talk.vim");
    fs::copy(syntax, home.file(".vim/syntax/talk.vim")).expect("the file is there");
    let settings = "autocmd BufNewFile,BufRead *.talk set filetype=talk";
    let page = fs::read_to_string(root.join("docs/talk.md")).expect("the page is there");
    assert!(page.contains(&format!("`{settings}`")));
    fs::write(home.file(".vimrc"), format!("syntax on\n{settings}\n")).expect("there is room");
    fs::write(home.file("look.vim"), LOOK).expect("there is room");
    let script = "# > Bob\nwithin 200ms\nsleeps\nbob> > eof {{name}}\nc.7< Hello, {{n:\\d+}}\n<*\n<\"a\\n\" x 3\n\
                  <prompt \"h-{{n}}$ \"\n>eof\n> within\n<nothing 1s\nsignal TERM\n";
    fs::write(home.file("a.talk"), script).expect("there is room");
    let folder = home.file("");
    let mut vim = Command::new("vim");
    vim.args(["-es", "-N", "-i", "NONE", "-u", ".vimrc", "-S", "look.vim", "a.talk"]);
    vim.env("HOME", &folder).current_dir(&folder).stdin(Stdio::null());
    vim.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("vim starts");
    let shown = fs::read_to_string(home.file("shown")).expect("vim has written it");
    let expected = [
        "<talkComment># > Bob",
        "<talkControl>within<talkControlLine> <talkNumber>200ms",
        "<talkControlLine>sleeps",
        "<talkConnection>bob<talkDirection>><talkSent> > eof <talkPlaceholder>{{name}}",
        "<talkConnection>c.7<talkDirection><<talkExpected> Hello, <talkPlaceholder>{{n:\\d+}}",
        "<talkDirection><<talkSkip>*",
        "<talkDirection><<talkQuoted>\"a<talkEscape>\\n<talkQuoted>\"<talkEventLine> x <talkNumber>3",
        "<talkDirection><<talkEvent>prompt<talkEventLine> <talkQuoted>\"h-<talkPlaceholder>{{n}}<talkQuoted>$ \"",
        "<talkDirection>><talkEvent>eof",
        "<talkDirection>><talkSent> within",
        "<talkDirection><<talkEvent>nothing<talkEventLine> <talkNumber>1s",
        "<talkControl>signal<talkControlLine> <talkOption>TERM",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
}
