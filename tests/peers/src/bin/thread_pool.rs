//! A thread for each client, and a pool of workers behind a crossbeam channel that answers one line
//! per job: the article's second program, as it stands in Rust.

#![forbid(unsafe_code)]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;

use crossbeam_channel::{Receiver, Sender};

/// What a client sent, and where the reply goes.
struct ClientJob {
    name: String,
    reply: Sender<String>,
}

const WORKERS: usize = 2;

/// Enough for a client here, and as many as the others need.
const STACK_BYTES: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let (jobs, jobs_to_do) = crossbeam_channel::unbounded();
    for _ in 0..WORKERS {
        let jobs_to_do = jobs_to_do.clone();
        thread::spawn(move || generate_responses(&jobs_to_do));
    }
    for socket in greeter_peers::listen()?.incoming() {
        let (socket, jobs) = (socket?, jobs.clone());
        socket.set_nodelay(true)?;
        thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            // A client that breaks off is no error of the server's.
            let _ = serve(&socket, &jobs);
        })?;
    }
    Ok(())
}

fn generate_responses(jobs: &Receiver<ClientJob>) {
    for ClientJob { name, reply } in jobs {
        // The client may be gone.
        let _ = reply.send(format!("Hello, {name}"));
    }
}

fn serve(socket: &TcpStream, jobs: &Sender<ClientJob>) -> io::Result<()> {
    let mut lines = BufReader::new(socket);
    let mut writer = socket;
    let (reply, replies) = crossbeam_channel::bounded(1);
    loop {
        let mut name = String::new();
        if lines.read_line(&mut name)? == 0 {
            return Ok(());
        }
        let job = ClientJob { name, reply: reply.clone() };
        let answered = jobs.send(job).ok().and_then(|()| replies.recv().ok());
        let Some(line) = answered else { return Ok(()) };
        writer.write_all(line.as_bytes())?;
    }
}
