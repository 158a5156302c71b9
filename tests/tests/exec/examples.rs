use greeter_server::Exec;
use greeter_tests::client::Client;
use greeter_tests::missing_program;

use crate::kit::serve;

/// Those on the page on programs.
#[test]
fn the_programs_among_the_examples_answer() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../greeter-server/examples/programs/");
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
        let (server, exec) = serve(Exec::options(words[0]).args(arguments).arg(format!("{folder}{file}")).probe("a"));
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
