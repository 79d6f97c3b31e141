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
use tokio_rustls::client::TlsStream;

/// One TLS record; more is not had at once.
const CHUNK_BYTES: usize = 16 * 1024;

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Hands the next bytes to `take`; `false` at the end of the stream. Nothing is lost when the
    /// future is dropped.
    pub(crate) async fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        poll_fn(|cx| self.poll_receive(cx, &mut take)).await
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        let mut chunk = [const { MaybeUninit::<u8>::uninit() }; CHUNK_BYTES];
        let mut buffer = ReadBuf::uninit(&mut chunk);
        let polled = match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, &mut buffer),
        };
        match ready!(polled) {
            Ok(()) if buffer.filled().is_empty() => Poll::Ready(Ok(false)),
            Ok(()) => {
                take(buffer.filled());
                Poll::Ready(Ok(true))
            }
            // A TLS stream that ends without close_notify ends all the same: what is complete is
            // told by tagged replies.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(false)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes).await,
            Self::Tls(tls) => {
                tls.write_all(bytes).await?;
                tls.flush().await
            }
        }
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.shutdown().await,
            Self::Tls(tls) => tls.shutdown().await,
        }
    }
}
