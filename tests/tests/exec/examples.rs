use std::collections::BTreeSet;

use greeter_server::{Exec, PerClient, Tagged};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::{answered_by, in_both_placements, missing_program};

use crate::kit::serve;
use crate::per_client::serve_by;
use crate::tagged::{join, serve_with};

/// Where they are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../greeter-server/examples/programs/");

/// Those on the page on programs.
#[test]
fn the_programs_among_the_examples_answer() {
    for (words, package) in [
        (&["sh", "upper.sh"][..], "dash"),
        (&["python3", "upper.py"], "python3"),
        (&["perl", "upper.pl"], "perl"),
        (&["gawk", "-f", "upper.awk"], "gawk"),
        (&["mawk", "-W", "interactive", "-f", "upper.awk"], "mawk"),
    ] {
        if missing_program(words[0], package) {
            continue;
        }
        let (file, arguments) = words[1..].split_last().expect("there is a file");
        let (server, exec) = serve(Exec::options(words[0]).args(arguments).arg(format!("{FOLDER}{file}")).probe("a"));
        let mut clients = [(); 3].map(|()| Client::connect(server.local_addr()));
        for name in ["Bob", "", "ann and more"] {
            clients.iter_mut().for_each(|client| client.send(format!("{name}\nsecond\n")));
            for client in &mut clients {
                assert_eq!(
                    (client.text(), client.text()),
                    (name.to_uppercase() + "\n", "SECOND\n".to_owned()),
                    "{words:?}"
                );
            }
        }
        assert_eq!((exec.stats().late, exec.stats().ended, exec.stats().strays), (0, 0, 0));
    }
}

/// Each of them whole: pushes, sessions, replies of several lines and of none, refusals and an end.
#[test]
fn the_programs_for_many_clients_are_a_chat_with_a_counter() {
    for (words, package) in [
        (&["sh", "tagged.sh"][..], "dash"),
        (&["python3", "tagged.py"], "python3"),
        (&["perl", "tagged.pl"], "perl"),
        (&["gawk", "-f", "tagged.awk"], "gawk"),
        (&["mawk", "-W", "interactive", "-f", "tagged.awk"], "mawk"),
    ] {
        if missing_program(words[0], package) {
            continue;
        }
        let (file, arguments) = words[1..].split_last().expect("there is a file");
        in_both_placements(|workers| {
            let options = Tagged::options(words[0]).args(arguments).arg(format!("{FOLDER}{file}")).children(1);
            let (server, tagged) = serve_with(workers, options);
            let (mut ann, mut bob) = (join(&server, &tagged, 1), join(&server, &tagged, 2));
            assert_eq!((ann.text(), bob.text()), ("welcome\n".to_owned(), "welcome\n".to_owned()), "{words:?}");
            // Whatever bytes they are, in any language.
            ann.send(b"say  hello,\tBob\t\nsay \xff\ncount\ncount\n".as_slice());
            assert_eq!(bob.text(), " hello,\tBob\t\n", "{words:?}");
            assert_eq!(bob.line(), Some(b"\xff\n".to_vec()), "{words:?}");
            assert_eq!((ann.text(), ann.text()), ("1\n".to_owned(), "2\n".to_owned()), "{words:?}");
            assert_eq!(bob.ask("count"), "1\n", "{words:?}");
            bob.send("who\n");
            let said = BTreeSet::from([bob.text(), bob.text()]);
            assert_eq!(said, BTreeSet::from(["number 1\n", "number 2\n"].map(str::to_owned)), "{words:?}");
            bob.send("\n\tcount\nsay good-bye\nbye\ncount\n");
            let refused = "error: say …, count, who or bye\n";
            assert_eq!(
                String::from_utf8(bob.rest()).expect("it is text"),
                format!("{refused}{refused}good bye\n"),
                "{words:?}"
            );
            assert_eq!(ann.text(), "good-bye\n", "{words:?}");
            wait_until("he is gone", || tagged.stats().clients == 1);
            assert_eq!((ann.ask("who"), ann.ask("count")), ("number 1\n".to_owned(), "3\n".to_owned()), "{words:?}");
            drop((ann, bob));
            at_rest(&server);
            assert_eq!((tagged.stats().ended, tagged.stats().confused, tagged.stats().started), (0, 0, 1), "{words:?}");
        });
    }
}

/// Each of them whole: a prompt, what is known of the client, lines in either kind, and both ends.
#[test]
fn the_programs_for_one_client_each_add_up() {
    for (words, package) in [
        (&["sh", "sum.sh"][..], "dash"),
        (&["python3", "sum.py"], "python3"),
        (&["perl", "sum.pl"], "perl"),
        (&["gawk", "-f", "sum.awk"], "gawk"),
        (&["mawk", "-W", "interactive", "-f", "sum.awk"], "mawk"),
    ] {
        if missing_program(words[0], package) {
            continue;
        }
        let (file, arguments) = words[1..].split_last().expect("there is a file");
        let options = PerClient::options(words[0]).args(arguments).arg(format!("{FOLDER}{file}"));
        let (server, _per_client) = serve_by(answered_by(0), options);
        let (mut ann, mut bob) = (Client::connect(server.local_addr()), Client::connect(server.local_addr()));
        for client in [&mut ann, &mut bob] {
            assert_eq!(
                (client.text(), client.bytes(2)),
                ("hello, 127.0.0.1\n".to_owned(), b"> ".to_vec()),
                "{words:?}"
            );
        }
        ann.send("20\r\n");
        assert_eq!(ann.bytes(2), b"> ", "{words:?}");
        for wrong in ["two", "", "12345678901", "1 2"] {
            assert_eq!((ann.ask(wrong), ann.bytes(2)), ("that is no number\n".to_owned(), b"> ".to_vec()), "{words:?}");
        }
        bob.send("7\n");
        ann.send("022\n");
        assert_eq!((ann.bytes(2), bob.bytes(2)), (b"> ".to_vec(), b"> ".to_vec()), "{words:?}");
        assert_eq!(ann.finish(), b"42 in all\n", "{words:?}");
        bob.send("quit\r\n8\n");
        assert_eq!(bob.rest(), b"7 in all\n", "{words:?}");
        drop((ann, bob));
        at_rest(&server);
    }
}
