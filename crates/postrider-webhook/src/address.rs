//! Where a webhook may go. Endpoints are written by the operator, so private addresses are fine;
//! what no operator means is not: link-local and metadata services, unspecified, multicast.
//!
//! The address that is judged is the address that is connected to: names are judged in the
//! resolver of the connector, which leaves no time between check and use.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Which addresses an endpoint may be at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// What an operator may mean: the internet and private networks.
    #[default]
    Operator,
    /// The internet alone: every range that is not globally reachable is refused.
    Public,
}

/// Why an address is never connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Metadata,
    LinkLocal,
    Unspecified,
    Multicast,
    /// 240.0.0.0/4 and broadcast (RFC 1112 section 4, RFC 919).
    Reserved,
    /// Only by [`Policy::Public`]: loopback.
    Loopback,
    /// Only by [`Policy::Public`]: RFC 1918, RFC 6598 (shared), RFC 4193 (unique local) and the like.
    NotPublic,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "a cloud metadata service",
            Self::LinkLocal => "a link-local address",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
            Self::Loopback => "a loopback address, which strict_addresses refuses",
            Self::NotPublic => "no public address, which strict_addresses refuses",
        })
    }
}

/// Metadata services outside the link-local range: Alibaba Cloud, Oracle Cloud (its older one), the
/// WireServer of Azure; by IPv6 those of AWS (its network of local services), Google Cloud, Oracle
/// Cloud and Scaleway.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128),
];

/// What the registries of special-purpose addresses (RFC 6890) call not globally reachable, beyond
/// what is refused anyway: network and length of the prefix.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 10] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
];
/// Within 2000::/3, outside of which nothing is public: protocol assignments, documentation.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const GLOBAL_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

impl Policy {
    /// Why this address is refused, if it is. An IPv6 address that carries an IPv4 one is judged by
    /// that: packets end up there.
    pub fn refused(self, address: IpAddr) -> Option<Refused> {
        match address {
            IpAddr::V4(address) => self.refused_v4(address),
            IpAddr::V6(address) => self.refused_v6(address),
        }
    }

    /// Why the host of a URL is refused, where it is an address and not a name: names are judged
    /// when they are resolved.
    pub fn refused_literal(self, url: &Url) -> Option<Refused> {
        match url.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => self.refused_v4(address),
            Host::Ipv6(address) => self.refused_v6(address),
        }
    }

    fn refused_v4(self, address: Ipv4Addr) -> Option<Refused> {
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
        } else if self == Self::Operator {
            None
        } else if address.is_loopback() {
            Some(Refused::Loopback)
        } else {
            let within = |(network, bits): &(Ipv4Addr, u32)| {
                (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0
            };
            let inside = NOT_PUBLIC_V4.iter().any(within);
            inside.then_some(Refused::NotPublic)
        }
    }

    fn refused_v6(self, address: Ipv6Addr) -> Option<Refused> {
        let within = |(network, bits): &(Ipv6Addr, u32)| {
            (address.to_bits() ^ network.to_bits()) >> (128 - bits) == 0
        };
        if METADATA_V6.iter().any(within) {
            Some(Refused::Metadata)
        } else if address.is_unicast_link_local() {
            Some(Refused::LinkLocal)
        } else if address.is_unspecified() {
            Some(Refused::Unspecified)
        } else if address.is_multicast() {
            Some(Refused::Multicast)
        } else if let Some(carried) = embedded(address) {
            self.refused_v4(carried)
        } else if self == Self::Operator {
            None
        } else if address.is_loopback() {
            Some(Refused::Loopback)
        } else {
            let public = within(&GLOBAL_V6) && !NOT_PUBLIC_V6.iter().any(within);
            (!public).then_some(Refused::NotPublic)
        }
    }
}

/// Why this address is refused, whatever the policy.
pub fn refused(address: IpAddr) -> Option<Refused> {
    Policy::Operator.refused(address)
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
        // NAT64 by its well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // NAT64 by a prefix of the network's own (RFC 8215).
        [0x64, 0xff9b, 1, ..] => Some(translated(address)),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo: the client's address, inverted (RFC 4380 section 4).
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => None,
    }
}

/// RFC 6052 section 2.2: how long the network's prefix is shows in the suffix, which is zero. The
/// octet at bits 64 to 71 is no part of the address.
fn translated(address: Ipv6Addr) -> Ipv4Addr {
    let bytes = address.octets();
    let [
        _,
        _,
        _,
        _,
        _,
        _,
        b6,
        b7,
        _,
        b9,
        b10,
        b11,
        b12,
        b13,
        b14,
        b15,
    ] = bytes;
    match [b11, b12, b13, b14, b15] {
        [0, 0, 0, 0, 0] => Ipv4Addr::new(b6, b7, b9, b10),
        [_, 0, 0, 0, 0] => Ipv4Addr::new(b7, b9, b10, b11),
        [_, _, 0, 0, 0] => Ipv4Addr::new(b9, b10, b11, b12),
        [_, _, _, _, _] => Ipv4Addr::new(b12, b13, b14, b15),
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

/// The addresses of a name.
pub type Lookup = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// Who answers for names.
#[derive(Clone, Default)]
pub enum Names {
    #[default]
    System,
    /// In place of the system, as a test wants it.
    Fixed(Arc<Lookup>),
}

/// A resolver that answers with allowed addresses only. It is asked for every connection.
#[derive(Clone, Default)]
pub struct Guard {
    pub policy: Policy,
    pub names: Names,
    /// Hosts of proxies: operators choose them, also in private networks. What lies behind one is
    /// the proxy's to judge.
    pub proxies: Vec<String>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let is_proxy = guard
                .proxies
                .iter()
                .any(|proxy| proxy.eq_ignore_ascii_case(&host));
            let policy = match is_proxy {
                true => Policy::Operator,
                false => guard.policy,
            };
            let found: Vec<SocketAddr> = match &guard.names {
                Names::Fixed(answer) => answer(&host)
                    .into_iter()
                    .map(|address| SocketAddr::new(address, 0))
                    .collect(),
                Names::System => tokio::net::lookup_host((name.as_str(), 0))
                    .await
                    .map_err(|error| NotResolved {
                        host: host.clone(),
                        detail: error.to_string(),
                    })?
                    .collect(),
            };
            Ok(Box::new(allowed(policy, host, found)?.into_iter()) as Addrs)
        })
    }
}

fn allowed(
    policy: Policy,
    host: String,
    found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let mut no = None;
    let mut allowed = Vec::new();
    for socket in found {
        match policy.refused(socket.ip()) {
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
            "fd00:ec3::254",
            "fd20:ce::253",
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
            ("fd00:ec2::23", Metadata),
            ("fd20:ce::254", Metadata),
            ("fd00:c1::a9fe:a9fe", Metadata),
            ("fd00:42::42", Metadata),
            ("168.63.129.16", Metadata),
            ("64:ff9b::168.63.129.16", Metadata),
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
    fn strict_endpoints_are_on_the_internet_and_nowhere_else() {
        for address in [
            "8.8.8.8",
            "100.63.255.255",
            "172.32.0.1",
            "198.17.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1:808:8:800::",
            "64:ff9b:1:abcd:8:808:800:0",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
            "2001:0:1:2:3:4:f7f7:f7f7",
        ] {
            let judged = Policy::Public.refused(address.parse().unwrap());
            assert_eq!(judged, None, "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.255.255.254",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "::1",
            "fc00::1",
            "fd00::1",
            "fec0::1",
            "2001:db8::1",
            "2001:10::1",
            "2001:20::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            "4000::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::192.168.0.1",
            "64:ff9b:1:a00:0:100::",
            "64:ff9b:1:ff0a:0:1::",
            "64:ff9b:1:abcd:a:0:100:0",
            "2002:a00:1::1",
            "2002:7f00:1::1",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "fe80::1",
            "ff02::1",
            "::",
        ] {
            let judged = Policy::Public.refused(address.parse().unwrap());
            assert!(judged.is_some(), "{address}");
        }
    }

    #[test]
    fn a_translated_address_is_judged_whatever_the_networks_prefix() {
        for address in [
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:ffa9:fe:a9fe::",
            "64:ff9b:1:ffff:a9:fea9:fe00:0",
        ] {
            assert_eq!(verdict(address), Some(Refused::Metadata), "{address}");
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
            "http://169.254.43518/",
            "http://0xa9.254.0251.254/",
            "http://169.254.169.254./",
            "http://%31%369.254.169.254/",
            "http://\u{ff11}69.254.169.254/",
            "http://169\u{3002}254.169.254/",
            "http://[fe80::1]/",
            "http://[0:0:0:0:0:ffff:169.254.169.254]/",
            "http://[64:ff9b:1::a9fe:a9fe]/",
        ] {
            assert!(
                Policy::Operator
                    .refused_literal(&Url::parse(url).unwrap())
                    .is_some(),
                "{url}"
            );
        }
        for url in [
            "http://127.0.0.1:8080/",
            "https://hooks.example.org/",
            "http://[fd00::1]/",
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(Policy::Operator.refused_literal(&url), None, "{url}");
        }
        // Zones (RFC 6874) are no part of a URL here.
        for url in ["http://[fe80::1%25lo]/", "http://[::1%lo]/"] {
            assert!(Url::parse(url).is_err(), "{url}");
        }
        for url in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://127.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::1]/",
        ] {
            let url = Url::parse(url).unwrap();
            assert!(Policy::Public.refused_literal(&url).is_some(), "{url}");
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
            allowed(Policy::Operator, "h".to_owned(), mixed.clone()).unwrap(),
            sockets(&["10.0.0.1"])
        );
        let refused = allowed(Policy::Public, "h".to_owned(), mixed).unwrap_err();
        assert!(refused.is::<AddressRefused>());
        let rebound = allowed(
            Policy::Operator,
            "evil.example".to_owned(),
            sockets(&["::ffff:169.254.169.254"]),
        )
        .unwrap_err();
        assert!(rebound.is::<AddressRefused>());
        assert!(
            allowed(Policy::Operator, "h".to_owned(), Vec::new())
                .unwrap_err()
                .is::<NotResolved>()
        );
    }
}
