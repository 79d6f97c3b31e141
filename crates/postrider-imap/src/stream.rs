//! The bytes under a conversation: TCP, or TLS over it. Reading borrows the stack, so that a waiting
//! connection holds no buffer of ours.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use crate::tls::TlsStream;

/// One TLS record; more is not had at once.
const CHUNK_BYTES: usize = 16 * 1024;

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Hands the next bytes to `take`; `false` at the end of the stream. A TLS stream that ends
    /// without close_notify ends all the same: what is complete is told by tagged replies. Nothing is
    /// lost when the future is dropped.
    pub(crate) async fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        poll_fn(|cx| match self {
            Self::Plain(tcp) => poll_chunk(tcp, cx, &mut take),
            Self::Tls(tls) => tls.poll_receive(cx, &mut take),
        })
        .await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes).await,
            Self::Tls(tls) => tls.send(bytes).await,
        }
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.shutdown().await,
            Self::Tls(tls) => tls.shutdown().await,
        }
    }
}

/// The next bytes of a connection, by way of the stack; `false` at its end.
pub(crate) fn poll_chunk(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    take: &mut impl FnMut(&[u8]),
) -> Poll<io::Result<bool>> {
    let mut chunk = [const { MaybeUninit::<u8>::uninit() }; CHUNK_BYTES];
    let mut buffer = ReadBuf::uninit(&mut chunk);
    ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
    let filled = buffer.filled();
    if !filled.is_empty() {
        take(filled);
    }
    Poll::Ready(Ok(!filled.is_empty()))
}
