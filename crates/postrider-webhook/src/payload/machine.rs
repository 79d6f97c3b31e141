//! What an event tells of machines: signs that one wrote, bounces, and what the receiving server
//! found out about the sender.

use postrider_core::message::{self, AuthResult, Authentication};
use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

#[derive(Serialize, JsonSchema)]
pub(super) struct Auto<'a> {
    auto_submitted: Option<&'a str>,
    is_bounce: bool,
    pub(super) list_id: Option<&'a str>,
    precedence: Option<&'a str>,
    is_list: bool,
    out_of_office: bool,
    is_calendar: bool,
    calendar_method: Option<&'a str>,
    pub(super) bounce: Option<Bounce<'a>>,
}

impl<'a> Auto<'a> {
    pub(super) fn of(auto: &'a message::Auto) -> Self {
        Self {
            auto_submitted: auto.auto_submitted.as_deref(),
            is_bounce: auto.is_bounce,
            list_id: auto.list_id.as_deref(),
            precedence: auto.precedence.as_deref(),
            is_list: auto.is_list,
            out_of_office: auto.out_of_office,
            is_calendar: auto.is_calendar,
            calendar_method: auto.calendar_method.as_deref(),
            bounce: auto.bounce.as_ref().map(|bounce| Bounce {
                original_message_id: bounce.original_message_id.as_deref(),
                recipients: Recipients(&bounce.recipients),
            }),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Bounce<'a> {
    pub(super) original_message_id: Option<&'a str>,
    #[schemars(with = "Vec<Recipient<'a>>")]
    pub(super) recipients: Recipients<'a>,
}

#[derive(Clone, Copy)]
pub(super) struct Recipients<'a>(pub(super) &'a [message::Recipient]);

impl Serialize for Recipients<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Recipient::of))
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Recipient<'a> {
    address: Option<&'a str>,
    action: Option<&'a str>,
    status: Option<&'a str>,
    diagnostic: Option<&'a str>,
}

impl<'a> Recipient<'a> {
    pub(super) fn of(one: &'a message::Recipient) -> Self {
        Self {
            address: one.address.as_deref(),
            action: one.action.as_deref(),
            status: one.status.as_deref(),
            diagnostic: one.diagnostic.as_deref(),
        }
    }
}

/// What the trusted server says. Of several fields of its own the first that tells of a method counts.
#[derive(Serialize, JsonSchema)]
pub(super) struct Authenticated<'a> {
    authserv_id: &'a str,
    spf: Option<&'a str>,
    dkim: Option<&'a str>,
    dmarc: Option<&'a str>,
    arc: Option<&'a str>,
    #[serde(serialize_with = "results")]
    #[schemars(with = "Vec<Told<'a>>")]
    pub(super) results: Vec<&'a AuthResult>,
}

impl<'a> Authenticated<'a> {
    /// `None` where nobody is trusted or the trusted server says nothing. Fields without an id count
    /// for the trusted id "" alone, and of them only the uppermost: it is the latest.
    pub(super) fn of(all: &'a [Authentication], trusted: Option<&str>) -> Option<Self> {
        let trusted = trusted?;
        let ours = |one: &&Authentication| one.authserv_id.eq_ignore_ascii_case(trusted);
        let fields: Vec<_> = match trusted {
            "" => all.first().filter(ours).into_iter().collect(),
            _ => all.iter().filter(ours).collect(),
        };
        let first = fields.first()?;
        let results: Vec<&AuthResult> = fields.iter().flat_map(|one| &one.results).collect();
        let said = |method: &str| {
            let mut said = results.iter().filter(|one| one.method == method);
            said.next().map(|one| one.result.as_str())
        };
        // One good signature of several is enough (RFC 6376 section 6.1), but of one field: what
        // stands below the first that tells of DKIM may be the sender's own words.
        let of_dkim = |one: &&AuthResult| one.method == "dkim";
        let mut of_fields = fields.iter().map(|field| &field.results);
        let first_of_dkim = of_fields.find(|all| all.iter().any(|one| of_dkim(&one)));
        let good = |one: &&AuthResult| of_dkim(one) && one.result == "pass";
        Some(Self {
            authserv_id: &first.authserv_id,
            spf: said("spf"),
            dkim: first_of_dkim
                .and_then(|all| all.iter().find(good))
                .map(|one| one.result.as_str())
                .or_else(|| said("dkim")),
            dmarc: said("dmarc"),
            arc: said("arc"),
            results,
        })
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Told<'a> {
    method: &'a str,
    result: &'a str,
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    properties: Properties<'a>,
}

impl<'a> Told<'a> {
    pub(super) fn of(one: &'a AuthResult) -> Self {
        Self {
            method: &one.method,
            result: &one.result,
            properties: Properties(&one.properties),
        }
    }
}

struct Properties<'a>(&'a [(String, String)]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn results<S: Serializer>(all: &[&AuthResult], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(|one| Told::of(one)))
}
