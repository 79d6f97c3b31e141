//! The page for whoever keeps the firewall: hosts and ports, who calls whom, and which of the
//! connections take a proxy. All of them go out, but those of whoever opens a link.

use std::{collections::BTreeSet, fmt::Write as _};

use postrider_imap::server::Proxy as SocketProxy;
use url::Url;

use super::Protocols;
use crate::config::{Cloud, Config, CredentialKind, Proxy, TlsMode};

/// One connection that has to be let out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opening {
    pub purpose: &'static str,
    pub host: String,
    pub port: u16,
    /// Of the client; `none` for a direct connection.
    pub proxy: String,
}

const NOTES: &str = "
- All connections are outgoing TCP. TLS is 1.2 or newer. Nothing connects to postrider from outside; `/metrics` is for the
  monitoring alone.
- Allow Microsoft's hosts by name: they resolve to regional front doors, and their addresses change. The current ranges come from
  <https://endpoints.office.com/endpoints/worldwide?clientrequestid=GUID> (any GUID will do; `USGOVGCCHigh`,
  `USGOVDoD`, `China` in place of `worldwide`): the entries with these hosts.
- Connections to mail servers stay open for hours, one per watched folder, and carry a few bytes every five minutes. A firewall
  or NAT that forgets idle connections sooner than that ends them silently; postrider notices and connects again, later than need be.
- No inspection that breaks TLS, unless its certificate authority is given to postrider as `ca_file`.
- No certificate revocation hosts are needed: they are not asked.
";

const IMAP_TLS: &str = "mail (IMAP over TLS)";

/// For a cloud alone: what an application that reads mail there needs.
pub fn of_cloud(cloud: Cloud, protocols: Protocols) -> Vec<Opening> {
    let opening = |purpose, host: &str, port| Opening {
        purpose,
        host: host.to_owned(),
        port,
        proxy: "none".to_owned(),
    };
    let mut openings = vec![
        opening("tokens (HTTPS)", cloud.login_host(), 443),
        opening(IMAP_TLS, cloud.mail_host(), 993),
    ];
    match protocols {
        Protocols::Imap => {}
        Protocols::ImapAndPop => {
            openings.push(opening("mail (POP3 over TLS)", cloud.mail_host(), 995))
        }
    }
    openings
}

/// What this configuration connects to, each once.
pub fn of_config(config: &Config) -> Vec<Opening> {
    let mut openings = BTreeSet::new();
    for mailbox in config.mailboxes.values() {
        let server = &mailbox.server;
        openings.insert(Opening {
            purpose: match server.tls {
                TlsMode::Implicit => IMAP_TLS,
                TlsMode::StartTls => "mail (IMAP, STARTTLS)",
                TlsMode::None => "mail (IMAP, not encrypted)",
            },
            host: server.host.clone(),
            port: server.port,
            proxy: shown(&server.proxy),
        });
    }
    for credential in config.credentials.values() {
        let direct = Proxy::None;
        for (purpose, url) in token_urls(&credential.kind) {
            let proxy = match &credential.kind {
                // Its address means another machine to a proxy.
                CredentialKind::ManagedIdentity(_) => &direct,
                CredentialKind::Microsoft(_)
                | CredentialKind::MicrosoftDelegated(_)
                | CredentialKind::Google(_)
                | CredentialKind::GoogleDelegated(_)
                | CredentialKind::OAuth2(_)
                | CredentialKind::Password { .. }
                | CredentialKind::Token(_) => &credential.proxy,
            };
            openings.extend(opening(purpose, &url, proxy));
        }
    }
    for endpoint in config.endpoints.values() {
        let purpose = match endpoint.url.scheme() {
            "https" => "events (HTTPS)",
            _ => "events (HTTP, not encrypted)",
        };
        openings.extend(opening(purpose, &endpoint.url, &endpoint.proxy));
    }
    openings.into_iter().collect()
}

fn token_urls(kind: &CredentialKind) -> Vec<(&'static str, Url)> {
    let parsed = |text: &str| Url::parse(text).into_iter().collect::<Vec<_>>();
    let urls = match kind {
        CredentialKind::Microsoft(microsoft) => vec![microsoft.authority.clone()],
        CredentialKind::MicrosoftDelegated(microsoft) => vec![microsoft.authority.clone()],
        CredentialKind::ManagedIdentity(identity) => vec![identity.endpoint.clone()],
        CredentialKind::Google(google) => match &google.token_url {
            Some(url) => vec![url.clone()],
            None => parsed("https://oauth2.googleapis.com"),
        },
        CredentialKind::GoogleDelegated(google) => vec![google.token_url.clone()],
        CredentialKind::OAuth2(oauth2) => vec![oauth2.token_url.clone()],
        // A command that prints tokens knows by itself where they come from.
        CredentialKind::Password { .. } | CredentialKind::Token(_) => Vec::new(),
    };
    let purpose = match kind {
        CredentialKind::ManagedIdentity(_) => "tokens (HTTP, the machine's own metadata service)",
        CredentialKind::Microsoft(_)
        | CredentialKind::MicrosoftDelegated(_)
        | CredentialKind::Google(_)
        | CredentialKind::GoogleDelegated(_)
        | CredentialKind::OAuth2(_)
        | CredentialKind::Password { .. }
        | CredentialKind::Token(_) => "tokens (HTTPS)",
    };
    urls.into_iter().map(|url| (purpose, url)).collect()
}

fn opening(purpose: &'static str, url: &Url, proxy: &Proxy) -> Option<Opening> {
    Some(Opening {
        purpose,
        host: url.host_str()?.to_owned(),
        port: url.port_or_known_default()?,
        proxy: shown(proxy),
    })
}

/// Without credentials.
fn shown(proxy: &Proxy) -> String {
    match proxy {
        Proxy::None => "none".to_owned(),
        Proxy::Env => "of the environment".to_owned(),
        Proxy::Url(url) => SocketProxy { url: url.clone() }.place(),
    }
}

/// The page, as Markdown.
pub fn page(cloud: Cloud, protocols: Protocols, config: Option<&Config>) -> String {
    let mut text = String::from("# Network access for postrider\n\n");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}:\n", cloud.title());
    text += &table(&of_cloud(cloud, protocols), Columns::Plain);
    if cloud.is_unverified() {
        text += "\nNo document confirms these hosts for IMAP with an application's access in this cloud.\n";
    }
    if let Some(config) = config {
        text += "\nWhat this configuration connects to:\n\n";
        text += &table(&of_config(config), Columns::Proxies);
    }
    text += NOTES;
    if let Some(links) = config.and_then(|config| config.links.as_ref()) {
        let _ = writeln!(
            text,
            "- But for links to attachments: whoever opens one calls `{}`, and the proxy there calls postrider at `{}` (`[links] listen`).",
            links.public_url.origin().ascii_serialization(),
            links.listen
        );
    }
    text
}

/// A cloud's own table knows of no proxies.
fn table(openings: &[Opening], columns: Columns) -> String {
    let (mut text, proxies) = match columns {
        Columns::Plain => (
            String::from("| purpose | host | port |\n|---|---|---|\n"),
            false,
        ),
        Columns::Proxies => (
            String::from("| purpose | host | port | through proxy |\n|---|---|---|---|\n"),
            true,
        ),
    };
    for opening in openings {
        let _ = write!(
            text,
            "| {} | `{}` | {} |",
            opening.purpose, opening.host, opening.port
        );
        if proxies {
            let _ = write!(text, " {} |", opening.proxy);
        }
        text.push('\n');
    }
    text
}

#[derive(Clone, Copy)]
enum Columns {
    Plain,
    Proxies,
}
