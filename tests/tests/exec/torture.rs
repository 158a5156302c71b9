use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::process::{TestedServer, greeter_server, marked};
use greeter_tests::size::{figure, sized};
use rustix::process::Signal;

use crate::starts::StopAtEnd;

/// Does what the third word says, and mostly says the line.
const PROGRAM: &str = r#"
while IFS= read -r line; do
    set -- $line
    case $3 in
        dies) kill -9 $$;;
        begins) printf 'half a li'; kill -9 $$;;
        stands) kill -STOP $$;;
        ends) exit 0;;
        closes) exec >&-; sleep 1000;;
        hangs) sleep 1000;;
        floods) head -c 200000 /dev/zero | tr '\0' x;;
        doubles) printf '%s\n%s\n' "$line" "$line"; continue;;
        grows) printf '%s\nmo' "$line"; continue;;
        forks) sleep 1000 & ;;
        forks-deaf) (trap '' TERM; while :; do sleep 1000; done) & ;;
        complains) echo "I do not like $line" >&2;;
    esac
    printf '%s\n' "$line"
done
"#;

const VERBS: [&str; 13] = [
    "says",
    "dies",
    "begins",
    "stands",
    "ends",
    "closes",
    "hangs",
    "floods",
    "doubles",
    "grows",
    "forks",
    "forks-deaf",
    "complains",
];

const CLIENTS: usize = 8;

/// For five minutes: `GREETER_FULL=1`. A line too many that comes when the next was asked is not
/// among these: nobody can tell it from an answer.
#[test]
fn whatever_processes_do_nobody_reads_anothers_answer_and_nothing_is_left() {
    let duration = sized(Duration::from_secs(4), Duration::from_secs(300));
    let marker = format!("GREETER_TORTURE={}", std::process::id());
    let mut command = Command::new(greeter_server());
    command.args(["--listen", "127.0.0.1:0", "--reply-timeout", "200ms", "--queue-timeout", "2s", "--log", "warn"]);
    command.args(["--exec-children", "4", "--exec-lines-max", "20", "--exec", "env", &marker, "sh", "-c", PROGRAM]);
    let mut server = TestedServer::start_command(command);
    let (outcomes, began) = (Mutex::new(BTreeMap::<&str, u64>::new()), Instant::now());
    let is_over = AtomicBool::new(false);
    let (mut most_descriptors, mut most_bytes) = (0, 0);
    thread::scope(|scope| {
        let over = StopAtEnd(&is_over);
        for number in 0..CLIENTS {
            let (server, outcomes, is_over) = (&server, &outcomes, &is_over);
            scope.spawn(move || {
                let mut client = Client::connect(server.address());
                for line in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    // Every second line is one that is answered.
                    let verb = if line % 2 == 0 { "says" } else { VERBS[(line / 2 * 5 + number * 3) % VERBS.len()] };
                    let asked = format!("{number} {line} {verb}");
                    let said = client.ask(&asked);
                    let outcome = match said.trim_end() {
                        said if said == asked => "answered",
                        "error: timed out" => "timed out",
                        "error: internal error" => "failed",
                        "error: busy" => "busy",
                        other => panic!("{number} reads {other:?} for {asked:?}"),
                    };
                    *outcomes.lock().expect("nobody panics with it").entry(outcome).or_default() += 1;
                }
            });
        }
        while began.elapsed() < duration && !is_over.load(Ordering::Relaxed) {
            most_descriptors = most_descriptors.max(server.descriptors());
            most_bytes = most_bytes.max(server.resident_bytes());
            thread::sleep(Duration::from_millis(50));
        }
        // However much, or little, a busy machine gets done in that time.
        wait_until("all of it has happened several times", || {
            let outcomes = outcomes.lock().expect("nobody panics with it");
            ["answered", "timed out", "failed"].iter().all(|outcome| outcomes.get(outcome).is_some_and(|n| *n > 10))
        });
        drop(over);
    });
    let outcomes = outcomes.into_inner().expect("nobody panics with it");
    // Four children, those that come, and those that go: for each of these, two seconds may pass.
    let descriptors = server.descriptors();
    assert!(most_descriptors < 500, "{most_descriptors}");
    wait_until("all pipes of those that are gone are closed", || server.descriptors() < 30 + 4 * 8);
    figure("outcomes", format!("{outcomes:?}"));
    figure("descriptors at most, and at the end", format!("{most_descriptors}, {descriptors}"));
    figure("KiB at most", most_bytes / 1024);
    wait_until("there are processes", || !marked(&marker).is_empty());
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success(), "{log}");
    wait_until("no process is left", || marked(&marker).is_empty());
}
