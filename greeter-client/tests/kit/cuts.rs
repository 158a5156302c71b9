//! Servers that cut what they send at every place: what comes of a script depends on the bytes
//! alone.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use greeter_client::ServerAddress;
use greeter_client::run::{Outcome, RunOptions, run};
use greeter_client::talk::Script;

use super::{Server, read_all, serve};

/// Between two pieces, so that the one has mostly been looked at when the other comes. Whatever it
/// is, the outcome must be the same.
const PAUSE: Duration = Duration::from_millis(2);

/// A server that sends these pieces, each by itself, and closes when the client has nothing to say.
pub(crate) fn sends(pieces: Vec<Vec<u8>>) -> Server<()> {
    serve(move |mut stream: TcpStream| {
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            let _ = stream.write_all(&piece);
            thread::sleep(PAUSE);
        }
        read_all(&stream);
    })
}

/// Two pieces, with the cut at every place, and as many as there are bytes.
fn cuts(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let in_two = (0..=bytes.len()).map(|at| vec![bytes[..at].to_vec(), bytes[at..].to_vec()]);
    in_two.chain([bytes.iter().map(|&byte| vec![byte]).collect()]).collect()
}

pub(crate) fn ran(server: &ServerAddress, script: &str) -> String {
    let script = Script::parse("a.talk", script).unwrap_or_else(|problems| panic!("{problems}"));
    match run(&script, &RunOptions::to(server.clone()), None) {
        Outcome::Passed => "passed".to_owned(),
        Outcome::Skipped(reason) => reason,
        // The addresses are other ones each time, and so is what has come behind it by then.
        Outcome::Failed(failure) => {
            let report = failure.to_string();
            let lines = report.lines().filter(|line| !line.contains(" more bytes: "));
            lines.map(|line| line.split("  127.0.0.1:").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
        }
    }
}

/// The script ends like this, however the server cuts what it sends.
#[track_caller]
pub(crate) fn ends(bytes: &[u8], script: &str, outcome: &str) {
    let cuts = cuts(bytes);
    for some in cuts.chunks(16) {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let run = |pieces: &Vec<Vec<u8>>| {
                let pieces = pieces.clone();
                scope.spawn(move || ran(&sends(pieces).address, script))
            };
            let running: Vec<_> = some.iter().map(run).collect();
            running.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for (pieces, found) in some.iter().zip(outcomes) {
            let pieces: Vec<_> = pieces.iter().map(|piece| piece.escape_ascii().to_string()).collect();
            assert_eq!(found, outcome, "cut as {pieces:?}");
        }
    }
}
