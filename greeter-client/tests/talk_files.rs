//! Scripts as files: what is included, what a folder holds, and the blocks of Markdown.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use greeter_client::talk::{self, Script, ScriptError};

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

    fn problems(&self, name: &str) -> String {
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
        folder.problems("a.talk"),
        "F/./c.talk:1:1: error: this includes itself: F/b.talk -> F/./c.talk -> F/b.talk\n  \
         include b.talk\n  ^^^^^^^^^^^^^^"
    );
    assert!(folder.problems("self.talk").contains("this includes itself: F/self.talk -> F/self.talk"));
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
    assert!(folder.problems("0.talk").starts_with("F/16.talk:1:1: error: includes are more than 16 deep\n"));
    Script::load(folder.path("4.talk")).unwrap();
    assert!(folder.problems("w0.talk").contains("a script can include at most 10000 times"));
}

#[test]
fn what_is_wrong_with_an_included_file_is_told_once_and_there() {
    let folder = Folder::new(&[
        ("main.talk", "include bad.talk\ninclude bad.talk\ninclude none.talk\n>x\n"),
        ("bad.talk", "\n>Bob\n"),
    ]);
    let problems = folder.problems("main.talk");
    let places: Vec<_> = problems.lines().filter(|line| line.contains(": error: ")).collect();
    assert_eq!(places.len(), 3, "{problems}");
    assert!(places[0].starts_with("F/main.talk:3:1: error: cannot read F/none.talk: "), "{problems}");
    assert!(places[1].starts_with("F/main.talk:4:2: error: '>x' is no statement"), "{problems}");
    assert!(places[2].starts_with("F/bad.talk:2:2: error: '>Bob' is no statement"), "{problems}");
}

#[test]
fn steps_are_checked_together_across_files() {
    let folder = Folder::new(&[("main.talk", "include end.talk\n> late\n"), ("end.talk", "\n>eof\n")]);
    let problems = folder.problems("main.talk");
    assert!(problems.starts_with("F/main.talk:2:1: error: nothing can be sent after '>eof' (line 2 of F/end.talk)"));
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
    assert_eq!(script.source().line(9), b"  > b");
    let none = talk::load_all([folder.path("none.md")]);
    assert!(matches!(&none[..], [Err(ScriptError::NoScript { .. })]), "{none:?}");
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
