//! tokio with a task for each client and `LinesCodec`: what one writes first.

#![forbid(unsafe_code)]

use std::io;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Framed, LinesCodec};

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
        tokio::spawn(greet(socket));
    }
}

async fn greet(socket: TcpStream) {
    let mut lines = Framed::new(socket, LinesCodec::new_with_max_length(8192));
    while let Some(Ok(name)) = lines.next().await {
        if lines.send(format!("Hello, {name}")).await.is_err() {
            return;
        }
    }
}
