//! A reply of any size goes out whole, and what it occupied is given back.

use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::{PLACEMENTS, alone, answered_by, spawn};

const MIB: usize = 1024 * 1024;

/// The memory of this process, in bytes.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("a process has memory");
    let pages = statm.split(' ').nth(1).expect("there are several fields");
    pages.parse::<usize>().expect("pages are a number") * rustix::param::page_size()
}

#[test]
fn a_reply_of_64_mib_is_gone_once_it_was_read() {
    const BIG: usize = 64 * MIB;
    let _alone = alone();
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Puppet::default()));
        let mut client = Client::connect(server.local_addr());
        assert_eq!(client.ask("echo here"), "here\n");
        let before = resident_bytes();
        for round in 0..4 {
            client.send(format!("big {BIG}\necho next {round}\n"));
            wait_until("it is made", || server.stats().bytes_sent > 5);
            let mut left = BIG;
            while left > 0 {
                let piece = client.bytes(left.min(MIB));
                assert!(piece.iter().all(|&byte| byte == b'x'));
                left -= piece.len();
            }
            assert_eq!(client.text(), "\n");
            assert_eq!(client.text(), format!("next {round}\n"));
            // The allocator keeps some of it for the next time, but that is not as much as one
            // reply.
            let more = resident_bytes().saturating_sub(before);
            assert!(more < BIG, "{more} bytes more than before");
            println!("{workers} workers, round {round}: {} KiB more than before", more / 1024);
        }
        drop(client);
        at_rest(&server);
    }
}
