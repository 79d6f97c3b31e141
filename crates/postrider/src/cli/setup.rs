//! `setup exchange`: gathers what is to be set up from the command line and the configuration, and
//! prints it. It talks to nobody: what it prints is carried out by an administrator.

use std::{collections::BTreeSet, path::Path};

use serde_json::json;

use super::{
    args::{SetupCloud, SetupExchange, SetupReceipts},
    check,
    failure::{Exit, Failure},
    output::{print, print_json},
};
use crate::{
    config::{self, Cloud, Config, CredentialKind, MicrosoftProof, nearest},
    setup::{
        Address, ClientId, Exchange, Identity, Invalid, ObjectId, Protocols, Reach, ReadReceipts,
        Removed, Tenant, firewall, script, steps,
    },
};

pub(crate) fn exchange(file: &Path, args: &SetupExchange, json: bool) -> Result<(), Failure> {
    // Whoever says it all needs no configuration, which in a new house comes last.
    let says_all = args.credential.is_none() && !args.mailboxes.is_empty() && args.tenant.is_some();
    let wanted = !says_all && (!args.firewall || file.exists());
    let loaded = match wanted {
        false => None,
        true if !file.exists() => return Err(no_configuration(file)),
        true => match config::load(file) {
            Ok(loaded) => Some(loaded.config),
            Err(problems) => return Err(check::refused(file, &problems, json)?),
        },
    };
    if args.firewall {
        return firewall(args, loaded.as_ref(), json);
    }
    let setup = gather(args, loaded.as_ref())?;
    let script = script::script(&setup);
    if !json {
        return print(&script);
    }
    let steps = steps::steps(&setup);
    let steps = steps
        .iter()
        .map(|step| json!({ "title": step.title, "lines": step.lines }));
    let mailboxes = setup.mailboxes.iter().map(Address::as_str);
    print_json(&json!({
        "cloud": setup.cloud.as_str(),
        "verified": !setup.cloud.is_unverified(),
        "tenant": setup.tenant.as_str(),
        "client_id": setup.client_id.as_ref().map(ClientId::as_str),
        "object_id": setup.object_id.as_ref().map(ObjectId::as_str),
        "mailboxes": mailboxes.collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
        "script": script,
    }))
}

fn firewall(args: &SetupExchange, config: Option<&Config>, json: bool) -> Result<(), Failure> {
    let of_credential = match (config, &args.credential) {
        (Some(config), name) => known(config, name.as_deref(), args)?.map(|known| known.cloud),
        (None, _) => None,
    };
    let cloud = args.cloud.map(Into::into).or(of_credential);
    let cloud = cloud.unwrap_or(Cloud::Global);
    if !json {
        return print(&firewall::page(cloud, protocols(args), config));
    }
    let openings = match config {
        Some(config) => firewall::of_config(config),
        None => firewall::of_cloud(cloud, protocols(args)),
    };
    let openings = openings.iter().map(|opening| {
        json!({
            "purpose": opening.purpose,
            "host": opening.host,
            "port": opening.port,
            "proxy": opening.proxy,
        })
    });
    print_json(&json!({
        "cloud": cloud.as_str(),
        "verified": !cloud.is_unverified(),
        "openings": openings.collect::<Vec<_>>(),
    }))
}

/// What the configuration knows of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: String,
    cloud: Cloud,
    tenant: Option<String>,
    client_id: Option<String>,
    object_id: Option<String>,
    identity: Identity,
}

impl Known {
    fn of(name: &str, kind: &CredentialKind) -> Option<Self> {
        let name = name.to_owned();
        match kind {
            CredentialKind::Microsoft(microsoft) => Some(Self {
                name,
                cloud: microsoft.cloud,
                tenant: Some(microsoft.tenant.clone()),
                client_id: Some(microsoft.client_id.clone()),
                object_id: None,
                identity: match &microsoft.proof {
                    MicrosoftProof::Secrets(_) => Identity::Secret,
                    MicrosoftProof::Certificates(_) => Identity::Certificate,
                    MicrosoftProof::FederatedToken(_) => Identity::Federation,
                },
            }),
            CredentialKind::ManagedIdentity(managed) => {
                let (client_id, object_id) = match &managed.identity {
                    config::AzureIdentity::ClientId(id) => (Some(id.clone()), None),
                    config::AzureIdentity::ObjectId(id) => (None, Some(id.clone())),
                    config::AzureIdentity::Default | config::AzureIdentity::ResourceId(_) => {
                        (None, None)
                    }
                };
                Some(Self {
                    name,
                    cloud: Cloud::Global,
                    tenant: None,
                    client_id,
                    object_id,
                    identity: Identity::Managed,
                })
            }
            // A person's access needs no service principal, and the others are no Exchange.
            CredentialKind::MicrosoftDelegated(_)
            | CredentialKind::Google(_)
            | CredentialKind::GoogleDelegated(_)
            | CredentialKind::OAuth2(_)
            | CredentialKind::Password { .. }
            | CredentialKind::Token(_) => None,
        }
    }
}

fn gather(args: &SetupExchange, config: Option<&Config>) -> Result<Exchange, Failure> {
    let known = match config {
        Some(config) => known(config, args.credential.as_deref(), args)?,
        None => None,
    };
    let of_known =
        |field: fn(&Known) -> &Option<String>| known.as_ref().and_then(|k| field(k).clone());
    let tenant = args.tenant.clone().or_else(|| of_known(|k| &k.tenant));
    let Some(tenant) = tenant else {
        return Err(Failure::new(Exit::Failed, "which tenant?")
            .hint("--tenant TENANT: its id or one of its domains"));
    };
    let client_id = args
        .client_id
        .clone()
        .or_else(|| of_known(|k| &k.client_id));
    let object_id = args
        .object_id
        .clone()
        .or_else(|| of_known(|k| &k.object_id));
    let cloud = args.cloud.map(Into::into);
    Ok(Exchange {
        credential: known.as_ref().map(|known| known.name.clone()),
        cloud: cloud
            .or(known.as_ref().map(|known| known.cloud))
            .unwrap_or(Cloud::Global),
        tenant: Tenant::parse(&tenant).map_err(odd)?,
        client_id: client_id
            .map(|id| ClientId::parse(&id))
            .transpose()
            .map_err(odd)?,
        object_id: object_id
            .map(|id| ObjectId::parse(&id))
            .transpose()
            .map_err(odd)?,
        mailboxes: mailboxes(args, config, known.as_ref())?,
        identity: known
            .as_ref()
            .map_or(Identity::Open, |known| known.identity),
        protocols: protocols(args),
        read_receipts: match args.read_receipts {
            SetupReceipts::Keep => ReadReceipts::Keep,
            SetupReceipts::Suppress => ReadReceipts::Suppress,
        },
        reach: match args.only_missing {
            true => Reach::OnlyMissing,
            false => Reach::All,
        },
        removed: match args.for_removed {
            true => Removed::Revoke,
            false => Removed::Leave,
        },
    })
}

fn protocols(args: &SetupExchange) -> Protocols {
    match args.pop {
        true => Protocols::ImapAndPop,
        false => Protocols::Imap,
    }
}

/// The credential that is meant: the one that was named, else the only one of its kind. None where
/// there is none and the command line says enough.
fn known(
    config: &Config,
    name: Option<&str>,
    args: &SetupExchange,
) -> Result<Option<Known>, Failure> {
    let all: Vec<Known> = config
        .credentials
        .values()
        .filter_map(|credential| Known::of(credential.key.as_str(), &credential.kind))
        .collect();
    let names: Vec<&str> = all.iter().map(|known| known.name.as_str()).collect();
    let choice = format!("--credential {}", names.join(" | "));
    match name {
        Some(name) => match all.iter().find(|known| known.name == name) {
            Some(known) => Ok(Some(known.clone())),
            None => {
                let what = match config.credentials.keys().any(|key| key.as_str() == name) {
                    true => format!("credential `{name}` is no application's access to Exchange"),
                    false => format!("there is no credential `{name}`"),
                };
                let hint = match nearest(name, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "credentials of type microsoft and managed-identity can be set up"
                        .to_owned(),
                };
                Err(Failure::new(Exit::Failed, what).hint(hint))
            }
        },
        None => match all.as_slice() {
            [one] => Ok(Some(one.clone())),
            [] if args.firewall || !args.mailboxes.is_empty() => Ok(None),
            _ if args.firewall => Ok(None),
            [] => Err(Failure::new(
                Exit::Failed,
                "no credential is an application's access to Exchange",
            )
            .hint("--tenant and --mailboxes say what is to be set up without one")),
            several => match in_use(several, config).as_slice() {
                [one] if args.mailboxes.is_empty() => Ok(Some((*one).clone())),
                _ => Err(
                    Failure::new(Exit::Failed, "several credentials could be meant").hint(choice),
                ),
            },
        },
    }
}

/// Those that a mailbox names.
fn in_use<'a>(several: &'a [Known], config: &Config) -> Vec<&'a Known> {
    let names = |known: &&Known| {
        let mut mailboxes = config.mailboxes.values();
        mailboxes.any(|mailbox| mailbox.credential.as_str() == known.name)
    };
    several.iter().filter(names).collect()
}

/// Those of the command line, else all that use the credential, by the name they log in with: that
/// is the mailbox which is opened.
fn mailboxes(
    args: &SetupExchange,
    config: Option<&Config>,
    known: Option<&Known>,
) -> Result<Vec<Address>, Failure> {
    let mut texts: Vec<String> = args.mailboxes.clone();
    if let (true, Some(config), Some(known)) = (texts.is_empty(), config, known) {
        let used = config
            .mailboxes
            .values()
            .filter(|mailbox| mailbox.credential.as_str() == known.name);
        texts.extend(used.map(|mailbox| match mailbox.username.contains('@') {
            true => mailbox.username.to_string(),
            false => mailbox.address.to_string(),
        }));
    }
    let mut seen = BTreeSet::new();
    let mut addresses = Vec::new();
    let mut refused = Vec::new();
    for text in texts.iter().filter(|text| !text.trim().is_empty()) {
        match Address::parse(text) {
            Ok(address) => {
                if seen.insert(address.as_str().to_ascii_lowercase()) {
                    addresses.push(address);
                }
            }
            Err(error) => refused.push(error.to_string()),
        }
    }
    if !refused.is_empty() {
        let mut failure = Failure::new(Exit::Failed, "these addresses cannot go into a script");
        failure.details = refused;
        return Err(failure);
    }
    match addresses.is_empty() {
        false => Ok(addresses),
        true => Err(
            Failure::new(Exit::Failed, "no mailbox uses this credential")
                .hint("--mailboxes a@example.com,b@example.com, or add them to the configuration"),
        ),
    }
}

fn odd(error: Invalid) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}

fn no_configuration(file: &Path) -> Failure {
    Failure::new(
        Exit::Config,
        format!("there is no configuration {}", file.display()),
    )
    .hint("say it all: --tenant TENANT --client-id ID --mailboxes a@example.com,b@example.com")
}

impl From<SetupCloud> for Cloud {
    fn from(cloud: SetupCloud) -> Self {
        match cloud {
            SetupCloud::Global => Self::Global,
            SetupCloud::GccHigh => Self::GccHigh,
            SetupCloud::Dod => Self::Dod,
            SetupCloud::China => Self::China,
        }
    }
}

#[cfg(test)]
mod tests;
