//! Memory for idle connections of clients.

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::figures::memory;

/// How many are opened at once.
const AT_ONCE: usize = 100;

/// Bytes that the process has before, and with so many connections that have had one request each and then nothing.
pub(super) async fn memory_with(address: &str, process: u32, connections: usize) -> Result<(u64, u64)> {
    let before = memory(process)?;
    let open = futures::stream::iter(0..connections).map(|_| used(address)).buffer_unordered(AT_ONCE);
    let open: Vec<TcpStream> = open.try_collect().await?;
    let after = memory(process)?;
    drop(open);
    Ok((before, after))
}

async fn used(address: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await.context("no further connection")?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: bench.localhost\r\n\r\n").await?;
    let mut read = Vec::new();
    // The whole response is a head and the small body.
    while !read.ends_with(b"x")
        || read.iter().rev().take_while(|byte| **byte == b'x').count() < super::contenders::SMALL_BYTES
    {
        ensure!(stream.read_buf(&mut read).await? > 0, "a connection was closed");
    }
    ensure!(read.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&read));
    Ok(stream)
}
