//! Links to messages and their attachments: signed, so that nobody can make one up, and for a time.
//! What serves them asks here whether a path and a query are one of ours.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use postrider_core::time::Wall;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use url::Url;
use uuid::Uuid;

/// Shorter keys could be guessed.
pub const KEY_CHARS_MIN: usize = 32;

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The message as it is (RFC 5322).
    Raw,
    /// An attachment, by its `index` in the event.
    Part(u32),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw => f.write_str("raw"),
            Self::Part(index) => write!(f, "parts/{index}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("links.key is missing")]
    Missing,
    #[error("links.key is shorter than 32 characters; hint: openssl rand -base64 32")]
    Short,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLink {
    /// No path of ours.
    NotFound,
    /// Not signed by any of the keys.
    Forged,
    Expired,
}

/// The keys of links: the first one signs, all are believed.
#[derive(Clone)]
pub struct Keys(Vec<Hmac<Sha256>>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// Newest first.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a SecretString>) -> Result<Self, KeyError> {
        let mut macs = Vec::new();
        for key in keys {
            let key = key.expose_secret().trim();
            if key.len() < KEY_CHARS_MIN {
                return Err(KeyError::Short);
            }
            // HMAC takes keys of any length (RFC 2104 section 2).
            let mac = Hmac::new_from_slice(key.as_bytes()).map_err(|_| KeyError::Short)?;
            macs.push(mac);
        }
        match macs.is_empty() {
            true => Err(KeyError::Missing),
            false => Ok(Self(macs)),
        }
    }

    /// What a request asks for, if it is a link of ours that has not expired.
    pub fn verify(&self, path: &str, query: &str, now: Wall) -> Result<(Uuid, Target), NoLink> {
        let (event, target) = parse_path(path).ok_or(NoLink::NotFound)?;
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut found = pairs.filter(|(known, _)| *known == name);
            let (_, value) = found.next()?;
            // A name that is there twice is not ours.
            found.next().is_none().then_some(value)
        };
        let (expires, signature) = value("expires")
            .zip(value("signature"))
            .ok_or(NoLink::Forged)?;
        // Exactly as we write it: no sign, no leading zero.
        let seconds: i64 = expires.parse().map_err(|_| NoLink::Forged)?;
        if seconds.to_string() != expires {
            return Err(NoLink::Forged);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| NoLink::Forged)?;
        let is_ours = self.0.iter().any(|mac| {
            // Compared in constant time.
            begin(mac, event, target, seconds)
                .verify_slice(&signature)
                .is_ok()
        });
        match is_ours {
            false => Err(NoLink::Forged),
            true if now.seconds() > seconds => Err(NoLink::Expired),
            true => Ok((event, target)),
        }
    }
}

/// Makes links.
#[derive(Clone, Debug)]
pub struct Linker {
    pub keys: Keys,
    /// Where the listener is reached from outside; a path is kept.
    pub public_url: Url,
    pub life: Duration,
}

impl Linker {
    /// A link that lives from now on, which is the time of an attempt.
    pub fn link(&self, event: Uuid, target: Target, now: Wall) -> String {
        let expires = (now + self.life).seconds();
        let signature = match self.keys.0.first() {
            Some(mac) => begin(mac, event, target, expires).finalize().into_bytes(),
            None => return String::new(),
        };
        format!(
            "{}/v1/messages/{event}/{target}?expires={expires}&signature={}",
            self.public_url.as_str().trim_end_matches('/'),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }
}

fn begin(mac: &Hmac<Sha256>, event: Uuid, target: Target, expires: i64) -> Hmac<Sha256> {
    let mut mac = mac.clone();
    mac.update(format!("postrider link v1\n{event}\n{target}\n{expires}").as_bytes());
    mac
}

/// `/v1/messages/EVENT/raw` and `/v1/messages/EVENT/parts/N`, in one spelling each.
fn parse_path(path: &str) -> Option<(Uuid, Target)> {
    let rest = path.strip_prefix("/v1/messages/")?;
    let (id, target) = rest.split_once('/')?;
    let event = Uuid::try_parse(id).ok()?;
    let target = match target.strip_prefix("parts/") {
        Some(index) => Target::Part(index.parse().ok()?),
        None if target == "raw" => Target::Raw,
        None => return None,
    };
    (format!("{event}/{target}") == rest).then_some((event, target))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Wall = Wall(1_760_000_000_000);

    fn keys(keys: &[&str]) -> Keys {
        let keys: Vec<SecretString> = keys.iter().map(|key| SecretString::from(*key)).collect();
        Keys::new(&keys).unwrap()
    }

    fn linker(key: &str) -> Linker {
        Linker {
            keys: keys(&[key]),
            public_url: Url::parse("https://links.example.org/mail/").unwrap(),
            life: Duration::from_secs(60),
        }
    }

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    fn split(link: &str) -> (String, String) {
        let url = Url::parse(link).unwrap();
        let path = url.path().strip_prefix("/mail").unwrap().to_owned();
        (path, url.query().unwrap().to_owned())
    }

    #[test]
    fn a_link_leads_where_it_says_until_it_expires() {
        let event = Uuid::from_u128(7);
        for target in [Target::Raw, Target::Part(0), Target::Part(199)] {
            let (path, query) = split(&linker(KEY).link(event, target, NOW));
            let at = |seconds| {
                let now = NOW + Duration::from_secs(seconds);
                keys(&[KEY]).verify(&path, &query, now)
            };
            assert_eq!(at(0), Ok((event, target)));
            assert_eq!(at(60), Ok((event, target)));
            assert_eq!(at(61), Err(NoLink::Expired));
        }
    }

    #[test]
    fn old_keys_are_believed_while_they_are_listed() {
        let (path, query) = split(&linker(OTHER).link(Uuid::from_u128(7), Target::Raw, NOW));
        assert!(keys(&[KEY, OTHER]).verify(&path, &query, NOW).is_ok());
        assert_eq!(keys(&[KEY]).verify(&path, &query, NOW), Err(NoLink::Forged));
    }

    #[test]
    fn what_is_changed_is_forged() {
        let event = Uuid::from_u128(7);
        let (path, query) = split(&linker(KEY).link(event, Target::Part(1), NOW));
        let other_event = path.replace("000000000007", "000000000008");
        let (expires, signature) = query.split_once('&').unwrap();
        let later = expires.replace('0', "9");
        for (path, query) in [
            (path.replace("parts/1", "parts/2"), query.clone()),
            (path.replace("parts/1", "raw"), query.clone()),
            (other_event, query.clone()),
            (path.clone(), format!("{later}&{signature}")),
            (path.clone(), format!("{query}&expires=99999999999")),
            (path.clone(), expires.to_owned()),
            (path.clone(), String::new()),
            (path.clone(), format!("{expires}&signature=")),
            (path.clone(), query.replace("expires=1", "expires=+1")),
            (path.clone(), query.replace("expires=1", "expires=01")),
        ] {
            let verdict = keys(&[KEY]).verify(&path, &query, NOW);
            assert_eq!(verdict, Err(NoLink::Forged), "{path}?{query}");
        }
        for path in [
            "/",
            "/v1/messages/x/raw",
            "/v1/messages/00000000-0000-0000-0000-000000000007",
            "/v1/messages/00000000-0000-0000-0000-000000000007/parts/01",
            "/v1/messages/00000000000000000000000000000007/raw",
            "/v1/messages/00000000-0000-0000-0000-000000000007/../raw",
        ] {
            let verdict = keys(&[KEY]).verify(path, &query, NOW);
            assert_eq!(verdict, Err(NoLink::NotFound), "{path}");
        }
    }

    #[test]
    fn a_short_key_is_refused() {
        let short = [SecretString::from("short")];
        assert_eq!(Keys::new(&short).unwrap_err(), KeyError::Short);
        assert_eq!(Keys::new([]).unwrap_err(), KeyError::Missing);
        assert!(!format!("{:?}", keys(&[KEY])).contains("0123"));
    }

    proptest! {
        #[test]
        fn nothing_made_up_is_a_link(path in ".{0,80}", query in ".{0,120}") {
            prop_assert!(keys(&[KEY]).verify(&path, &query, NOW).is_err());
        }
    }
}
