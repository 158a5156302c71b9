//! Scripts as files: what is included, what a folder holds, and the blocks of Markdown.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use greeter_client::talk::{self, Script, ScriptError};
use proptest::prelude::*;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(std::env::temp_dir().join(format!("talk-files-{}-{count}", std::process::id())));
        fs::create_dir_all(&folder.0).unwrap();
        for (name, text) in files {
            let path = folder.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A text in which this folder is called `F`.
    fn told(&self, text: &impl ToString) -> String {
        text.to_string().replace(&*self.0.to_string_lossy(), "F")
    }

    fn diagnostics(&self, name: &str) -> String {
        self.told(&Script::load(self.path(name)).unwrap_err())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Each step as `file:line title`.
fn steps(folder: &Folder, script: &Script) -> Vec<String> {
    let shown = |step| {
        let step: &talk::Step = step;
        let name = script.source_of(step).path().unwrap().strip_prefix(&folder.0).unwrap().display().to_string();
        format!("{name}:{} {}", step.line(), step.title().unwrap_or("-"))
    };
    script.steps().iter().map(shown).collect()
}

#[test]
fn an_included_file_stands_where_it_is_included() {
    let folder = Folder::new(&[
        ("main.talk", "# Main.\n> a\ninclude sub/setup.talk\n> b\ninclude \"sub/setup.talk\"\n"),
        ("sub/setup.talk", "> x\n# Setup.\n\ninclude more.talk\n"),
        ("sub/more.talk", "> y"),
    ]);
    let script = Script::load(folder.path("main.talk")).unwrap();
    let setup = ["sub/setup.talk:1 Main.", "sub/more.talk:1 Setup."];
    let expected = [&["main.talk:2 Main."][..], &setup, &["main.talk:4 Main."], &setup].concat();
    assert_eq!(steps(&folder, &script), expected);
    assert!(script.is_included(&script.steps()[1]) && !script.is_included(&script.steps()[3]));
    assert_eq!(script.source_of(&script.steps()[2]).line(1), b"> y");
}

#[test]
fn files_that_include_each_other_are_told_with_their_chain() {
    let folder = Folder::new(&[
        ("a.talk", "> a\n  include b.talk\n"),
        ("b.talk", "include ./c.talk\n"),
        ("c.talk", "include b.talk\n"),
        ("self.talk", "include self.talk\n"),
    ]);
    assert_eq!(
        folder.diagnostics("a.talk"),
        "F/./c.talk:1:1: error: this includes itself: F/b.talk -> F/./c.talk -> F/b.talk\n  \
         include b.talk\n  ^^^^^^^^^^^^^^"
    );
    assert!(folder.diagnostics("self.talk").contains("this includes itself: F/self.talk -> F/self.talk"));
}

#[test]
fn includes_are_neither_too_deep_nor_too_many() {
    let mut files: Vec<_> = (0..20).map(|n| (format!("{n}.talk"), format!("include {}.talk\n", n + 1))).collect();
    files.push(("20.talk".into(), "> a".into()));
    // Each of these includes the next ten times: 10^8 includes, and not one step.
    files.extend((0..8).map(|n| (format!("w{n}.talk"), format!("include w{}.talk\n", n + 1).repeat(10))));
    files.push(("w8.talk".into(), String::new()));
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let folder = Folder::new(&files);
    assert!(folder.diagnostics("0.talk").starts_with("F/16.talk:1:1: error: includes are more than 16 deep\n"));
    Script::load(folder.path("4.talk")).unwrap();
    assert!(folder.diagnostics("w0.talk").contains("a script can include at most 10000 times"));
}

#[test]
fn what_is_wrong_with_an_included_file_is_told_once_and_there() {
    let folder = Folder::new(&[
        ("main.talk", "include bad.talk\ninclude bad.talk\ninclude none.talk\n>x\n"),
        ("bad.talk", "\n>Bob\n"),
    ]);
    let diagnostics = folder.diagnostics("main.talk");
    let places: Vec<_> = diagnostics.lines().filter(|line| line.contains(": error: ")).collect();
    assert_eq!(places.len(), 3, "{diagnostics}");
    assert!(places[0].starts_with("F/main.talk:3:1: error: cannot read F/none.talk: "), "{diagnostics}");
    assert!(places[1].starts_with("F/main.talk:4:2: error: '>x' is no statement"), "{diagnostics}");
    assert!(places[2].starts_with("F/bad.talk:2:2: error: '>Bob' is no statement"), "{diagnostics}");
}

#[test]
fn steps_are_checked_together_across_files() {
    let folder = Folder::new(&[("main.talk", "include end.talk\n> late\n"), ("end.talk", "\n>eof\n")]);
    let diagnostics = folder.diagnostics("main.talk");
    assert!(diagnostics.starts_with("F/main.talk:2:1: error: nothing can be sent after '>eof' (line 2 of F/end.talk)"));
}

const MARKDOWN: &str = "# Title\r
```talk
> a
```

* in a list:

  ~~~~ talk and more
  > b
  ~~~
  < c
  ~~~~

````text
```talk
>not one
```
````

``` inline ```talk
```rust
>nor this
```
```talk
>bad
";

#[test]
fn blocks_of_markdown_are_scripts_with_the_lines_of_the_file() {
    let folder = Folder::new(&[("page.md", &MARKDOWN.replace("\n  ~~~\n", "\n  # ~~~\n")), ("none.md", "nothing")]);
    let scripts = talk::load_all([folder.path("page.md")]);
    let told: Vec<_> = scripts
        .iter()
        .map(|script| match script {
            Ok(script) => format!("{} {:?}", folder.told(&script.name()), steps(&folder, script)),
            Err(err) => folder.told(&err).lines().next().unwrap().to_owned(),
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"F/page.md:2 ["page.md:3 -"]"#,
            r#"F/page.md:8 ["page.md:9 -", "page.md:11 ~~~"]"#,
            "F/page.md:25:2: error: '>bad' is no statement",
        ]
    );
    let Ok(script) = &scripts[1] else { panic!("a script") };
    assert_eq!(script.source().lines(), 9..12);
    assert_eq!(script.source().line(9), b"> b");
    let none = talk::load_all([folder.path("none.md")]);
    assert!(matches!(&none[..], [Err(ScriptError::NoScript { .. })]), "{none:?}");
}

/// The scripts of a page, each as the line of its fence and the lines that it has.
fn scripts(folder: &Folder, page: &[u8]) -> Vec<String> {
    fs::write(folder.path("page.md"), page).unwrap();
    let told = |script: Result<Script, ScriptError>| match script {
        Ok(script) => {
            let source = script.source();
            let lines: Vec<_> = source.lines().map(|line| source.line(line).escape_ascii().to_string()).collect();
            format!("{}: {}", script.name().rsplit_once(':').unwrap().1, lines.join("|"))
        }
        Err(ScriptError::NoScript { .. }) => "none".to_owned(),
        Err(err) => folder.told(&err).lines().next().unwrap().to_owned(),
    };
    talk::load_all([folder.path("page.md")]).into_iter().map(told).collect()
}

#[test]
fn which_blocks_are_scripts_is_what_commonmark_says() {
    let folder = Folder::new(&[]);
    let block = "```talk\n> a\n```\n";
    let indented = |by: &str| block.split_inclusive('\n').map(|line| format!("{by}{line}")).collect::<String>();
    for (page, expected) in [
        // What is no block.
        (format!("<!--\n{block}-->\n"), &["none"][..]),
        (format!("<pre>\n\n{block}</pre>\n"), &["none"]),
        (indented("    "), &["none"]),
        (format!("````\n{block}````\n"), &["none"]),
        (format!("``` `\n{block}"), &["2: > a"]),
        // What stands in something.
        (indented("   "), &["1: > a"]),
        (indented("> "), &["1: > a"]),
        (indented(">"), &["1: > a"]),
        (indented("> > "), &["1: > a"]),
        (format!("* x\n\n{}", indented("  ")), &["3: > a"]),
        (format!("10. x\n\n{}", indented("    ")), &["3: > a"]),
        (format!("- x\n\n{}", indented("\t")), &["3: > a"]),
        ("- ```talk\n  > a\n\n  > b\n  ```\n".into(), &["1: > a||> b"]),
        ("- > ```talk\n  > > a\n  >\n  >> b\n  >\t# c\n  > ```\n".into(), &["1: > a||> b|# c"]),
        (format!("<details>\n\n{block}\n</details>\n"), &["3: > a"]),
        // Where it ends.
        ("> ```talk\n> > a\n> b\n".into(), &["F/page.md:3:3: error: 'b' is no control word"]),
        ("> ```talk\n> > a\nno longer\n\n> > a\n".into(), &["1: > a"]),
        ("- ```talk\n  > a\nno longer\n".into(), &["1: > a"]),
        ("```talk\n# a\n        ```\n".into(), &["F/page.md:3:9: error: '```' is no control word"]),
        ("```talk\n> a\n   ````\t\n>b\n".into(), &["1: > a"]),
        ("```talk\n> a\n".into(), &["1: > a"]),
        ("```talk".into(), &["1: "]),
        // What it is marked with.
        ("~~~ talk `x`\n> a\n```\n~~~\n".into(), &["F/page.md:3:1: error: '```' is no control word"]),
        ("```Talk\n```\n```talks\n```\n```x talk\n```\n~~~\ttalk,\n~~~\n".into(), &["none"]),
        (format!("{}\n{block}", indented("> ")), &["1: > a", "5: > a"]),
    ] {
        assert_eq!(scripts(&folder, page.as_bytes()), expected, "{page}");
        let crlf = page.replace('\n', "\r\n");
        assert_eq!(scripts(&folder, crlf.as_bytes()), expected, "{crlf:?}");
        assert_eq!(scripts(&folder, format!("\u{feff}{page}").as_bytes()), expected, "{page}");
    }
}

#[test]
fn data_in_markdown_may_be_any_bytes() {
    let folder = Folder::new(&[]);
    let page = b"\xff\r\xfe <\x00\n\n> ```talk\n> > \xff\xe2\x82\0\rb\n> ```\n\xc3\n\n```talk\n< c\n```\xff\n```\n";
    let expected = [r"3: > \xff\xe2\x82\x00\rb", "F/page.md:10:1: error: '```\u{fffd}' is no control word"];
    assert_eq!(scripts(&folder, page), expected);
}

/// Nobody would notice a test that is not run.
#[test]
fn a_page_in_which_no_block_could_be_found_is_an_error_where_it_says_talk() {
    let folder = Folder::new(&[]);
    let wide = |text: &str, of: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(of).collect::<Vec<u8>>();
    for text in ["\u{feff}# P\n\n```talk\n> a\n```\n", "# P\n\n```talk\n> a\n```\n"] {
        for page in [wide(text, u16::to_le_bytes), wide(text, u16::to_be_bytes)] {
            assert_eq!(scripts(&folder, &page), ["F/page.md:1:1: error: this looks like UTF-16"]);
            let refused = talk::format("page.md", &page).unwrap_err().to_string();
            assert!(refused.starts_with("page.md:1:1: error: this looks like UTF-16\n"), "{refused}");
            assert!(refused.ends_with("\n  help: save it as UTF-8"), "{refused}");
        }
        let old = text.replace('\n', "\r");
        assert_eq!(
            scripts(&folder, old.as_bytes()),
            ["F/page.md:1:1: error: the lines of this file end with CR alone"]
        );
    }
    assert_eq!(scripts(&folder, &wide("\u{feff}# Page\n", u16::to_le_bytes)), ["none"]);
    assert_eq!(scripts(&folder, b"# Page\r\rNothing.\r"), ["none"]);
}

#[test]
fn the_ending_of_a_name_may_be_written_in_capitals() {
    let page = "```talk\n> a\n```\n";
    let files = [("a.MD", page), ("b.markdown", page), ("c.Markdown", page), ("d.TALK", "> d\n"), ("e.mdx", page)];
    let folder = Folder::new(&files);
    let names = |paths: &[PathBuf]| -> Vec<_> {
        talk::load_all(paths.to_vec()).into_iter().map(|script| folder.told(&script.unwrap().name())).collect()
    };
    let all = ["F/a.MD:1", "F/b.markdown:1", "F/c.Markdown:1", "F/d.TALK"];
    assert_eq!(names(std::slice::from_ref(&folder.0)), all);
    assert_eq!(names(&["a.MD", "b.markdown", "c.Markdown", "d.TALK"].map(|name| folder.path(name))), all);
    assert_eq!(talk::format("a.MD", "```talk\n>  a\n\n```\n").unwrap(), b"```talk\n>  a\n```\n");
}

#[test]
fn a_block_is_formatted_within_what_it_stands_in() {
    for (page, expected) in [
        ("> ```talk\n>\n>    > a\n>\n>\n>> b\n>#c\n> ```\n> end", "> ```talk\n> > a\n>\n> > b\n> # c\n> ```\n> end"),
        (
            "1. x\n\n   - ```talk\n     > a\n\n\n     sleep  1000ms\n     ```\n",
            "1. x\n\n   - ```talk\n     > a\n\n     sleep 1s\n     ```\n",
        ),
        ("-\t> ```talk\n\t> > a\n\t> ```\n", "-\t> ```talk\n \t> > a\n\t> ```\n"),
        (">  ```talk\r\n> > a\r\n>\r\n> > b\r\n> ```\r\n", ">  ```talk\r\n>  > a\r\n>\r\n>  > b\r\n> ```\r\n"),
        ("    ```talk\n    sleep  1000ms\n    ```\n", "    ```talk\n    sleep  1000ms\n    ```\n"),
        ("<!--\n```talk\nsleep  1000ms\n```\n-->\n", "<!--\n```talk\nsleep  1000ms\n```\n-->\n"),
    ] {
        let formatted = String::from_utf8(talk::format("page.md", page).unwrap()).unwrap();
        assert_eq!(formatted, expected);
        assert_eq!(talk::format("page.md", &formatted).unwrap(), formatted.as_bytes());
    }
}

/// What a page is made of, and what may stand before each line of it.
fn page() -> impl Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "```talk",
        "~~~talk",
        "```",
        "~~~",
        "````",
        "> a",
        "< b",
        "sleep  1000ms",
        "#c",
        "",
        "text",
        "<!--",
        "-->",
        "<div>",
        "- x",
        "===",
        "---",
    ]);
    let before =
        prop::sample::select(vec!["", "", "", "> ", ">", ">\t", "- ", "  ", "    ", "\t", "1. ", "> - ", "   "]);
    let ending = prop::sample::select(vec!["\n", "\n", "\n", "\r\n", "\r"]);
    prop::collection::vec((before, line, ending), 0..14)
        .prop_map(|lines| lines.iter().map(|(before, line, ending)| [*before, line, ending].concat()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever a page is made of: its normal form has the same scripts, and is the normal form of
    /// itself.
    #[test]
    fn a_page_in_the_normal_form_has_the_same_scripts(page in page()) {
        let Ok(normal) = talk::format("page.md", &page) else { return Ok(()) };
        prop_assert_eq!(&talk::format("page.md", &normal).unwrap(), &normal);
        let folder = Folder::new(&[("page.md", &page)]);
        let steps = || -> Vec<Vec<talk::Action>> {
            let scripts = talk::load_all([folder.path("page.md")]).into_iter().flatten();
            scripts.map(|script| script.steps().iter().map(|step| step.action().clone()).collect()).collect()
        };
        let before = steps();
        fs::write(folder.path("page.md"), &normal).unwrap();
        prop_assert_eq!(steps(), before, "{:?}", normal.escape_ascii().to_string());
    }
}

#[test]
fn a_folder_is_searched_in_the_order_of_names() {
    let folder = Folder::new(&[
        ("b.talk", "> b"),
        ("a/z.talk", "> z"),
        ("a/A.talk", "> A"),
        ("c.md", "no script"),
        ("d.md", "```talk\n> d\n```\n"),
        ("e.txt", "> no"),
        (".hidden/x.talk", "> no"),
        ("f.talk", ">bad"),
        ("empty/e.txt", ""),
    ]);
    let names = |paths: &[PathBuf]| -> Vec<_> {
        let name = |script: Result<Script, ScriptError>| match script {
            Ok(script) => folder.told(&script.name()),
            Err(err) => folder.told(&err).lines().next().unwrap().to_owned(),
        };
        talk::load_all(paths.to_vec()).into_iter().map(name).collect()
    };
    let all = ["F/a/A.talk", "F/a/z.talk", "F/b.talk", "F/d.md:1", "F/f.talk:1:2: error: '>bad' is no statement"];
    assert_eq!(names(std::slice::from_ref(&folder.0)), all);
    assert_eq!(names(&[folder.path("b.talk"), folder.path("a"), folder.path("b.talk")]), [all[2], all[0], all[1]]);
    assert_eq!(names(&[folder.path("empty")]), ["F/empty holds no script"]);
    assert_eq!(names(&[folder.path("none.talk"), folder.path("e.txt")])[0], "cannot read F/none.talk");
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_not_followed_and_an_endless_file_ends() {
    let folder = Folder::new(&[("a/b.talk", "> b")]);
    std::os::unix::fs::symlink(&folder.0, folder.path("a/loop")).unwrap();
    assert_eq!(talk::load_all([&folder.0]).len(), 1);
    let endless = Script::load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(endless.to_string(), "cannot read /dev/zero");
}
