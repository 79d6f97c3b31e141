//! Where a webhook may go. Endpoints are written by the operator, so private addresses are fine;
//! what no operator means is not: link-local and metadata services, unspecified, multicast.
//!
//! The address that is judged is the address that is connected to: names are judged in the
//! resolver of the connector, which leaves no time between check and use.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Why an address is never connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Metadata,
    LinkLocal,
    Unspecified,
    Multicast,
    /// 240.0.0.0/4 and broadcast (RFC 1112 section 4, RFC 919).
    Reserved,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "a cloud metadata service",
            Self::LinkLocal => "a link-local address",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// Metadata services outside the link-local range: Alibaba Cloud, Oracle Cloud (its older one),
/// and by IPv6 those of AWS and Google Cloud.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Why this address is refused, if it is. An IPv4 address inside an IPv6 one is judged as such.
pub fn refused(address: IpAddr) -> Option<Refused> {
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<Refused> {
    if METADATA_V4.contains(&address) {
        Some(Refused::Metadata)
    } else if address.is_link_local() {
        Some(Refused::LinkLocal)
    } else if address.octets()[0] == 0 {
        Some(Refused::Unspecified)
    } else if address.is_multicast() {
        Some(Refused::Multicast)
    } else if address.octets()[0] >= 240 {
        Some(Refused::Reserved)
    } else {
        None
    }
}

fn refused_v6(address: Ipv6Addr) -> Option<Refused> {
    if METADATA_V6.contains(&address) {
        Some(Refused::Metadata)
    } else if address.is_unicast_link_local() {
        Some(Refused::LinkLocal)
    } else if address.is_unspecified() {
        Some(Refused::Unspecified)
    } else if address.is_multicast() {
        Some(Refused::Multicast)
    } else {
        embedded(address).and_then(refused_v4)
    }
}

/// The IPv4 address that packets to this IPv6 address would end up at.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // IPv4-mapped (RFC 4291 section 2.5.5.2), and its translated form (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, 0, 1] => None,
        // IPv4-compatible (RFC 4291 section 2.5.5.1).
        [0, 0, 0, 0, 0, 0, high, low] => v4(high, low),
        // NAT64 (RFC 6052, RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => {
            v4(high, low)
        }
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo: the client's address, inverted (RFC 4380 section 4).
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => None,
    }
}

/// Why the host of a URL is refused, where it is an address and not a name: names are judged when
/// they are resolved.
pub fn refused_literal(url: &Url) -> Option<Refused> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => refused_v4(address),
        Host::Ipv6(address) => refused_v6(address),
    }
}

/// A name resolved to nothing but addresses that are refused.
#[derive(Debug, thiserror::Error)]
#[error("{host} resolves to {address}, {why}")]
pub struct AddressRefused {
    pub host: String,
    pub address: IpAddr,
    pub why: Refused,
}

#[derive(Debug, thiserror::Error)]
#[error("{host} cannot be resolved: {detail}")]
pub struct NotResolved {
    pub host: String,
    pub detail: String,
}

/// The system's resolver, less the addresses that are refused.
#[derive(Clone, Copy, Debug)]
pub struct Guard;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map_err(|error| NotResolved {
                host: host.clone(),
                detail: error.to_string(),
            })?;
            Ok(Box::new(allowed(host, found)?.into_iter()) as Addrs)
        })
    }
}

fn allowed(
    host: String,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let mut no = None;
    let mut allowed = Vec::new();
    for socket in found {
        match refused(socket.ip()) {
            None => allowed.push(socket),
            Some(why) => no = Some((socket.ip(), why)),
        }
    }
    match (allowed.is_empty(), no) {
        (false, _) => Ok(allowed),
        (true, Some((address, why))) => Err(Box::new(AddressRefused { host, address, why })),
        (true, None) => Err(Box::new(NotResolved {
            host,
            detail: "no address found".to_owned(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(address: &str) -> Option<Refused> {
        refused(address.parse().unwrap())
    }

    #[test]
    fn an_operators_own_network_is_allowed() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "8.8.8.8",
            "::1",
            "fd00::1",
            "fd12:3456::1",
            "2001:db8::1",
            "2606:4700::1111",
            "::ffff:10.0.0.1",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(verdict(address), None, "{address}");
        }
    }

    #[test]
    fn what_no_operator_means_is_refused_in_every_encoding() {
        use Refused::{LinkLocal, Metadata, Multicast, Reserved, Unspecified};
        for (address, why) in [
            ("169.254.169.254", Metadata),
            ("169.254.0.1", LinkLocal),
            ("169.254.170.2", LinkLocal),
            ("100.100.100.200", Metadata),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("240.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("::", Unspecified),
            ("ff02::1", Multicast),
            ("::ffff:169.254.169.254", Metadata),
            ("::ffff:0:169.254.169.254", Metadata),
            ("::169.254.169.254", Metadata),
            ("::ffff:0.0.0.0", Unspecified),
            ("64:ff9b::169.254.169.254", Metadata),
            ("64:ff9b:1::169.254.169.254", Metadata),
            ("2002:a9fe:a9fe::1", Metadata),
            ("2002:a9fe:1::", LinkLocal),
            ("2001:0:1:2:3:4:5601:5601", Metadata),
        ] {
            assert_eq!(verdict(address), Some(why), "{address}");
        }
    }

    #[test]
    fn literal_hosts_are_judged_in_every_spelling() {
        for url in [
            "http://169.254.169.254/latest",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0251.0376.0251.0376/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://0/",
        ] {
            assert!(
                refused_literal(&Url::parse(url).unwrap()).is_some(),
                "{url}"
            );
        }
        for url in [
            "http://127.0.0.1:8080/",
            "https://hooks.example.org/",
            "http://[fd00::1]/",
        ] {
            assert_eq!(refused_literal(&Url::parse(url).unwrap()), None, "{url}");
        }
    }

    #[test]
    fn of_mixed_answers_only_the_allowed_addresses_are_used() {
        let sockets = |list: &[&str]| {
            list.iter()
                .map(|one| SocketAddr::new(one.parse().unwrap(), 0))
                .collect::<Vec<_>>()
        };
        let mixed = sockets(&["169.254.169.254", "10.0.0.1"]);
        assert_eq!(
            allowed("h".to_owned(), mixed.into_iter()).unwrap(),
            sockets(&["10.0.0.1"])
        );
        let rebound = allowed(
            "evil.example".to_owned(),
            sockets(&["::ffff:169.254.169.254"]).into_iter(),
        )
        .unwrap_err();
        assert!(rebound.is::<AddressRefused>());
        assert!(
            allowed("h".to_owned(), std::iter::empty())
                .unwrap_err()
                .is::<NotResolved>()
        );
    }
}
