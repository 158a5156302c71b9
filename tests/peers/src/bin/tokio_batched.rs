//! tokio with a task for each client, which answers all lines of a read in one write: what one
//! writes when it is to be fast.

#![forbid(unsafe_code)]

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    greeter_peers::runtime()?.block_on(serve())
}

async fn serve() -> io::Result<()> {
    let listener = greeter_peers::listen()?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(async move {
            // A client that breaks off is no error of the server's.
            let _ = greet(socket).await;
        });
    }
}

async fn greet(mut socket: TcpStream) -> io::Result<()> {
    let mut input = Vec::with_capacity(8 * 1024);
    let mut output = Vec::new();
    loop {
        input.reserve(8 * 1024);
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut rest = &input[..];
        while let Some(end) = memchr::memchr(b'\n', rest) {
            output.extend_from_slice(b"Hello, ");
            output.extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
        socket.write_all(&output).await?;
        output.clear();
    }
}
