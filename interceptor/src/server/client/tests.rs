//! What a connection knows of what its client takes.

use std::future::poll_fn;
use std::io::IoSlice;
use std::net::Ipv4Addr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

/// A socket as it is served, and the client's end of it.
async fn connected() -> (ClientStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (ours, peer) = listener.accept().await.unwrap();
    (ClientStream::new(Transport::Plain(ours), Client::new(peer, false, false, (None, None))), theirs)
}

/// Writes until no more is taken, in one of the two ways that there are.
async fn fill(stream: &mut ClientStream, vectored: bool) {
    let bytes = vec![0; 1 << 16];
    poll_fn(|cx| {
        loop {
            let stream = Pin::new(&mut *stream);
            let written = if vectored {
                stream.poll_write_vectored(cx, &[IoSlice::new(&bytes)])
            } else {
                stream.poll_write(cx, &bytes)
            };
            match written {
                Poll::Ready(written) => assert!(written.unwrap() > 0),
                Poll::Pending => return Poll::Ready(()),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_whose_client_has_not_taken_its_response_is_not_at_rest() {
    for vectored in [false, true] {
        let (mut stream, _theirs) = connected().await;
        let client = stream.client.clone();
        assert!(client.is_at_rest(), "nothing has come, and nothing is to be written");
        fill(&mut stream, vectored).await;
        assert!(!client.is_at_rest(), "parked now, it would lose the end of the response (vectored: {vectored})");
        // Whoever writes flushes when it has nothing more to write.
        stream.flush().await.unwrap();
        assert!(client.is_at_rest());
    }
}

#[tokio::test]
async fn a_response_that_ends_with_its_connection_and_is_not_all_written_ends_with_a_reset() {
    for ends_by_closing in [false, true] {
        let (mut stream, mut theirs) = connected().await;
        let mut active = stream.client.begin_request();
        active.answered(ends_by_closing);
        // All of it has been handed over, and waits for the client's socket.
        drop(active);
        fill(&mut stream, true).await;
        drop(stream);
        let read = tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await;
        assert_eq!(read.is_err(), ends_by_closing, "{read:?}");
    }
}
