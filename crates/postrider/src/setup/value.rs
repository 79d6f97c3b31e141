//! Values that go into a script: each is checked to hold nothing but what its kind needs, and is
//! quoted all the same. Only ASCII: PowerShell takes typographic quotes for quotes, and Windows
//! PowerShell reads a script without a byte order mark in the machine's own code page.

use std::fmt;

/// Why a value is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no {what}: {why}")]
pub struct Invalid {
    /// Without what could drive a terminal.
    pub value: String,
    pub what: &'static str,
    pub why: &'static str,
}

/// A directory (tenant) id, or one of the tenant's domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(String);

/// The application's (client) id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientId(String);

/// The object id of the enterprise application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectId(String);

/// A mailbox's SMTP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(String);

impl Tenant {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if ["common", "organizations", "consumers"].contains(&text) {
            let why = "an application has a tenant of its own";
            return Err(invalid(text, "tenant", why));
        }
        match is_guid(text) || is_domain(text) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(invalid(
                text,
                "tenant",
                "it is the directory (tenant) id or one of the tenant's domains, such as contoso.onmicrosoft.com",
            )),
        }
    }
}

impl ClientId {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        guid(text, "client id").map(Self)
    }
}

impl ObjectId {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        guid(text, "object id").map(Self)
    }
}

impl Address {
    /// Exchange Online's own mailboxes have plain ASCII addresses.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let refused = |why| Err(invalid(text, "mailbox address", why));
        let Some((local, domain)) = text.rsplit_once('@') else {
            return refused("it has no @");
        };
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-./=?^_{|}~".contains(c));
        if local.is_empty() || local.len() > 64 || local.contains(odd) {
            return refused(
                "before the @ stand 1 to 64 letters, digits or signs that need no quotes",
            );
        }
        match is_domain(domain) {
            true => Ok(Self(text.to_owned())),
            false => refused("what follows the @ is no domain"),
        }
    }
}

macro_rules! shown {
    ($($kind:ident),*) => {$(
        impl $kind {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
shown!(Tenant, ClientId, ObjectId, Address);

/// In single quotes, in which PowerShell expands nothing; quotes inside are doubled.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn guid(text: &str, what: &'static str) -> Result<String, Invalid> {
    let text = text.trim();
    match is_guid(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(invalid(
            text,
            what,
            "it looks like 11111111-2222-3333-4444-555555555555",
        )),
    }
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_hex = |group: &&str| group.chars().all(|c| c.is_ascii_hexdigit());
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(is_hex)
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}

fn invalid(value: &str, what: &'static str, why: &'static str) -> Invalid {
    let value = value.chars().take(80);
    Invalid {
        value: value
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
        what,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_be_left() {
        assert_eq!(
            quoted("o'brien@contoso.com"),
            "'o''brien@contoso.com'",
            "doubled inside single quotes"
        );
        assert_eq!(quoted("$(Remove-Item x)"), "'$(Remove-Item x)'");
    }

    #[test]
    fn an_address_that_could_be_more_than_an_address_is_refused() {
        for good in [
            "support@contoso.com",
            "o'brien@contoso.com",
            "a.b+c=d@mail.contoso.co.uk",
            "$x@contoso.com",
        ] {
            assert_eq!(Address::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "support",
            "@contoso.com",
            "a b@contoso.com",
            "a`b@contoso.com",
            "a\u{2019}; Remove-Item x; \u{2019}@contoso.com",
            "\"a\"@contoso.com",
            "a;b@contoso.com",
            "a@contoso",
            "a@-contoso.com",
            "a@contoso.com\nRemove-Item x",
            "m\u{fc}ller@contoso.com",
            "a@b@contoso.com",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        let error = Address::parse("a\u{1b}[2J@contoso.com").unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }

    #[test]
    fn tenants_and_ids_are_what_the_portal_shows() {
        assert!(Tenant::parse("contoso.onmicrosoft.com").is_ok());
        assert!(Tenant::parse("AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee").is_ok());
        assert!(Tenant::parse("common").is_err());
        assert!(Tenant::parse("contoso'; x").is_err());
        assert!(ClientId::parse("11111111-2222-3333-4444-555555555555").is_ok());
        assert!(ClientId::parse("my-app").is_err());
        assert!(ObjectId::parse("11111111-2222-3333-4444-55555555555g").is_err());
    }
}
