//! TLS over TCP by rustls' interface without buffers of its own (`rustls::unbuffered`): what is
//! received and not yet decrypted, and what is encrypted and not yet sent, is here, and is given
//! back as soon as it is used up. rustls' other interface keeps 4 KiB per connection for as long as
//! it lives, and moves them with every large record, which leaves a heap of ten thousand idle
//! connections full of holes.
//!
//! It must never hold more than a record and a read, or a handshake message of 64 KiB; and an end of
//! the stream is told as such, never as data.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustls::{
    ClientConfig,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
    },
};
use tokio::{
    io::{AsyncWrite as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::stream::poll_chunk;

/// What rustls has not used up yet: a handshake message may be as long as this (RFC 8446 section 4
/// allows more), a record is 18 KiB at most, and a read adds another 16 KiB.
const RECEIVED_BYTES_MAX: usize = 128 * 1024;
/// What a record adds to what it carries; a guess that saves asking.
const RECORD_EXTRA: usize = 64;
const RECORD_BYTES: usize = 16 * 1024;

pub(crate) struct TlsStream {
    tcp: TcpStream,
    session: UnbufferedClientConnection,
    /// As it came, from `used` on.
    received: Vec<u8>,
    used: usize,
    /// Decrypted while something else was waited for.
    plain: Vec<u8>,
    /// Encrypted, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    life: Life,
}

enum Life {
    Open,
    /// The server said that nothing follows.
    Ended,
    /// Nothing of what follows an error is believed.
    Broken(rustls::Error),
}

/// Where the session stands when all that came is used up.
enum Standing {
    /// In the handshake: the server's turn.
    Blocked,
    Open,
    /// The server closed it in order.
    Ended,
}

impl TlsStream {
    /// The handshake. Its errors carry rustls' own where there is one.
    pub(crate) async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        tcp: TcpStream,
    ) -> io::Result<Self> {
        let session = UnbufferedClientConnection::new(config, name).map_err(invalid)?;
        let mut stream = Self {
            tcp,
            session,
            received: Vec::new(),
            used: 0,
            plain: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            life: Life::Open,
        };
        let mut early = Vec::new();
        loop {
            let standing = stream.process(&mut |bytes| early.extend_from_slice(bytes));
            // An alert that says why is sent before the error is told.
            let flushed = stream.flush().await;
            let standing = standing?;
            flushed?;
            match standing {
                // Closed in order once the handshake was over: what was said before is to be read.
                Standing::Open | Standing::Ended => break,
                Standing::Blocked if poll_fn(|cx| stream.poll_read(cx)).await? => {}
                Standing::Blocked => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        stream.plain = early;
        Ok(stream)
    }

    /// Hands what came next to `take`; `false` at the end of the stream, in order or not. Nothing
    /// is lost when it is not polled again.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut impl FnMut(&[u8]),
    ) -> Poll<io::Result<bool>> {
        if !self.plain.is_empty() {
            take(&std::mem::take(&mut self.plain));
            return Poll::Ready(Ok(true));
        }
        loop {
            let mut any = false;
            let standing = self.process(&mut |bytes| {
                any = true;
                take(bytes);
            });
            // What is still to be sent, such as an alert, must not keep what came from being read.
            let flushed = self.poll_flush(cx);
            if any {
                return Poll::Ready(Ok(true));
            }
            match standing? {
                Standing::Open | Standing::Blocked => {}
                Standing::Ended => return Poll::Ready(Ok(false)),
            }
            if let Poll::Ready(Err(error)) = flushed {
                return Poll::Ready(Err(error));
            }
            if !ready!(self.poll_read(cx))? {
                return Poll::Ready(Ok(false));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let received = &mut self.received;
        poll_chunk(&mut self.tcp, cx, &mut |bytes| {
            received.extend_from_slice(bytes)
        })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(
            |traffic, outgoing| traffic.encrypt(bytes, outgoing),
            bytes.len(),
        )?;
        self.flush().await
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.write(|traffic, outgoing| traffic.queue_close_notify(outgoing), 0)?;
        self.flush().await?;
        self.tcp.shutdown().await
    }

    /// Lets rustls use up what came, and keeps what it wants to send.
    fn process(&mut self, take: &mut impl FnMut(&[u8])) -> io::Result<Standing> {
        if let Life::Broken(error) = &self.life {
            return Err(invalid(error.clone()));
        }
        loop {
            let waiting = self.received.get_mut(self.used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(waiting);
            let standing = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        take(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    keep(&mut self.outgoing, data)?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // Ours from here on; it is sent before anything else is.
                    data.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Standing::Blocked),
                Ok(ConnectionState::WriteTraffic(_)) => Some(match self.life {
                    Life::Open => Standing::Open,
                    Life::Ended | Life::Broken(_) => Standing::Ended,
                }),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.life = Life::Ended;
                    Some(Standing::Ended)
                }
                // Early data goes the other way; other states do not exist.
                Ok(state) => return Err(io::Error::other(format!("TLS is in {state:?}"))),
                Err(error) => {
                    self.keep_alert();
                    self.life = Life::Broken(error.clone());
                    return Err(invalid(error));
                }
            };
            self.used_up(discard);
            if let Some(standing) = standing {
                return self.bounded().map(|()| standing);
            }
        }
    }

    fn bounded(&self) -> io::Result<()> {
        if self.received.len() - self.used <= RECEIVED_BYTES_MAX {
            return Ok(());
        }
        let what = "the server sends a TLS message without end";
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    /// After an error: what rustls wants the server to know of it. Only while there is something:
    /// else it would look for the bytes that it saw before, and panic where they are not.
    fn keep_alert(&mut self) {
        while self.session.wants_write() {
            let status = self.session.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(alert)) = status.state else {
                return;
            };
            if keep(&mut self.outgoing, alert).is_err() {
                // The first error is told.
                return;
            }
        }
    }

    fn used_up(&mut self, bytes: usize) {
        self.used += bytes;
        if self.used >= self.received.len() {
            self.received = Vec::new();
            self.used = 0;
        } else if self.used > RECORD_BYTES {
            self.received.drain(..self.used);
            self.used = 0;
        }
    }

    /// Encrypts something behind what is still to be sent.
    fn write(
        &mut self,
        mut encrypt: impl FnMut(
            &mut WriteTraffic<'_, ClientConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
        bytes: usize,
    ) -> io::Result<()> {
        // As a rule nothing waits but a record that is not whole yet.
        let mut plain = std::mem::take(&mut self.plain);
        let standing = self.process(&mut |bytes| plain.extend_from_slice(bytes));
        self.plain = plain;
        standing?;
        let waiting = self.received.get_mut(self.used..).unwrap_or_default();
        let UnbufferedStatus { discard, state } = self.session.process_tls_records(waiting);
        let written = match state.map_err(invalid)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let guess = bytes + RECORD_EXTRA * (2 + bytes / RECORD_BYTES);
                append(&mut self.outgoing, guess, |room| {
                    encrypt(&mut traffic, room).map_err(|error| match error {
                        EncryptError::InsufficientSize(size) => Some(size.required_size),
                        EncryptError::EncryptExhausted => None,
                    })
                })
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        };
        self.used_up(discard);
        written
    }

    async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(waiting) = self.outgoing.get(self.sent..).filter(|it| !it.is_empty()) {
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(cx, waiting))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

fn keep(
    outgoing: &mut Vec<u8>,
    mut data: EncodeTlsData<'_, ClientConnectionData>,
) -> io::Result<()> {
    append(outgoing, RECORD_EXTRA, |room| {
        data.encode(room).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => Some(size.required_size),
            EncodeError::AlreadyEncoded => None,
        })
    })
}

/// Appends what `fill` writes into the room that it is given; it answers with the room it needs
/// where that was too little, or with nothing where it never will.
fn append(
    to: &mut Vec<u8>,
    guess: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> io::Result<()> {
    let begin = to.len();
    let mut room = guess;
    loop {
        to.resize(begin + room, 0);
        match fill(to.get_mut(begin..).unwrap_or_default()) {
            Ok(written) => {
                to.truncate(begin + written);
                return Ok(());
            }
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => {
                to.truncate(begin);
                return Err(io::Error::other("TLS cannot encrypt any more"));
            }
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
