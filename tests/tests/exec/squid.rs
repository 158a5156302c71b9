use std::path::Path;

use greeter_server::Exec;
use greeter_tests::client::Client;
use greeter_tests::missing;

use crate::kit::serve;

/// Programs that others wrote for Squid, by the same rule.
#[test]
fn helpers_of_squid_answer() {
    for (helper, asked, said) in [
        ("basic_fake_auth", "user password", "OK \n"),
        ("url_fake_rewrite", "http://example.net/ 127.0.0.1/- - GET -", "ERR\n"),
        ("url_fake_rewrite.sh", "http://example.net/ 127.0.0.1/- - GET -", "\n"),
    ] {
        let path = Path::new("/usr/lib/squid").join(helper);
        if missing(!path.is_file(), helper, "squid (its helpers in /usr/lib/squid are enough)") {
            continue;
        }
        let (server, exec) = serve(Exec::options(&path).children(2));
        let mut clients = [(); 4].map(|()| Client::connect(server.local_addr()));
        for _ in 0..50 {
            clients.iter_mut().for_each(|client| client.send(format!("{asked}\n")));
            clients.iter_mut().for_each(|client| assert_eq!(client.text(), said, "{helper}"));
        }
        let stats = exec.stats();
        assert_eq!((stats.answered, stats.started, stats.ended, stats.strays), (200, 2, 0, 0));
    }
}
