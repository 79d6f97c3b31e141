//! Reaching a server through a proxy: HTTP CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928).
//! The proxy resolves the server's name. Credentials come from the URL and appear in no error.

use std::io;

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_socks::tcp::Socks5Stream;

use crate::{connect::connect_host, error::Error, server::Proxy};

/// A proxy's reply has a few lines.
const REPLY_BYTES_MAX: usize = 8 * 1024;

/// The caller bounds the time.
pub(crate) async fn dial(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, Error> {
    let failed = |source| Error::Connect {
        to: format!("{host}:{port} by proxy {}", proxy.place()),
        source,
    };
    let unusable = |what: &str| failed(io::Error::new(io::ErrorKind::InvalidInput, what));
    let proxy_host = proxy
        .url
        .host_str()
        .ok_or_else(|| unusable("it has no host"))?
        .trim_matches(['[', ']']);
    let default_port = match proxy.url.scheme() {
        "http" => 80,
        "socks5" | "socks5h" => 1080,
        _ => return Err(unusable("only http and socks5h are known")),
    };
    let proxy_port = proxy.url.port().unwrap_or(default_port);
    let tcp = connect_host(proxy_host, proxy_port).await?;
    let user = decoded(proxy.url.username());
    let password = decoded(proxy.url.password().unwrap_or_default());
    if proxy.url.scheme() == "http" {
        let tcp = connect(tcp, host, port, &user, &password).await;
        return tcp.map_err(failed);
    }
    let target = (host, port);
    let through = if user.is_empty() {
        Socks5Stream::connect_with_socket(tcp, target).await
    } else {
        Socks5Stream::connect_with_password_and_socket(tcp, target, &user, &password).await
    };
    through
        .map(Socks5Stream::into_inner)
        .map_err(|error| failed(io::Error::other(error)))
}

async fn connect(
    mut tcp: TcpStream,
    host: &str,
    port: u16,
    user: &str,
    password: &str,
) -> io::Result<TcpStream> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if !user.is_empty() {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        request.push_str(&format!("Proxy-Authorization: Basic {pair}\r\n"));
    }
    request.push_str("\r\n");
    tcp.write_all(request.as_bytes()).await?;
    let reply = reply(&mut tcp).await?;
    let line = reply
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let status = String::from_utf8_lossy(line);
    let accepted = status
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .is_some_and(|code| code.len() == 3 && code.starts_with('2'));
    if accepted {
        Ok(tcp)
    } else {
        let said = crate::error::ServerText::new(line);
        Err(io::Error::other(format!("the proxy answered {said}")))
    }
}

/// Byte by byte, because the server's greeting may follow at once.
async fn reply(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    while !reply.ends_with(b"\r\n\r\n") {
        if reply.len() == REPLY_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the proxy's reply does not end",
            ));
        }
        reply.push(tcp.read_u8().await?);
    }
    Ok(reply)
}

/// A URL's user name and password are percent-encoded (RFC 3986 section 2.1).
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let pair = after
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let escaped = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match escaped {
            Some(value) if *byte == b'%' => {
                bytes.push(value);
                rest = &after[2..];
            }
            Some(_) | None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn credentials_of_a_url_are_decoded() {
        assert_eq!(decoded("a%40b%3a%zz%"), "a@b:%zz%");
    }
}
