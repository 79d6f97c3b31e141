//! Microsoft: applications (secret, certificate, federated token), persons, machines.

use std::path::{Path, PathBuf};

use url::Url;

use super::{Findings, required, url::provider};
use crate::config::{
    model::{
        AzureIdentity, CertificateRef, CertificateSource, Cloud, ManagedIdentity,
        MicrosoftApplication, MicrosoftDelegated, MicrosoftProof, SignatureAlgorithm,
    },
    raw::{self, Certificates, FederatedToken},
    resolve::secrets::{look_at_mode, one, references},
};

const OVERVIEW: &str = "it stands on the app registration's overview";
const TENANT: &str =
    "write the tenant's id, or one of its domains such as \"contoso.onmicrosoft.com\"";
const RESOURCE: &str = "https://outlook.office365.com";
const METADATA: &str = "http://169.254.169.254";

/// What AKS tells a pod with workload identity.
const AZURE_FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";
const AZURE_CLIENT: &str = "AZURE_CLIENT_ID";
const AZURE_TENANT: &str = "AZURE_TENANT_ID";
const AZURE_HOST: &str = "AZURE_AUTHORITY_HOST";

pub(super) fn application(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> Option<MicrosoftApplication> {
    let (tenant, client_id, host) = match &written.federated_token {
        Some(FederatedToken::Preset(_)) => {
            let host = match written.cloud {
                Some(_) => written.authority.clone(),
                None => or_variable(written.authority.as_ref(), AZURE_HOST, findings),
            };
            (
                or_variable(written.tenant.as_ref(), AZURE_TENANT, findings),
                or_variable(written.client_id.as_ref(), AZURE_CLIENT, findings),
                host,
            )
        }
        Some(FederatedToken::File(_)) | None => (
            written.tenant.clone(),
            written.client_id.clone(),
            written.authority.clone(),
        ),
    };
    let tenant = tenant_of(path, tenant.as_ref(), findings);
    if matches!(tenant.as_str(), "common" | "organizations" | "consumers") {
        let what = format!("`{path}.tenant` is `{tenant}`: client credentials need one tenant");
        findings.error(&format!("{path}.tenant"), what, TENANT);
    }
    let client_id = client_id_of(path, client_id.as_ref(), findings);
    let (cloud, authority) = authority(path, written.cloud, host.as_ref(), findings);
    Some(MicrosoftApplication {
        tenant,
        client_id,
        proof: proof(path, written, findings)?,
        cloud,
        authority: authority?,
        scope: application_scope(path, written.scope.as_ref(), cloud, findings),
    })
}

pub(super) fn delegated(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> MicrosoftDelegated {
    let (cloud, authority) = authority(path, written.cloud, written.authority.as_ref(), findings);
    let client_secret = match &written.client_secret {
        Some(_) => references(
            &format!("{path}.client_secret"),
            written.client_secret.as_ref(),
            findings,
        ),
        None => Vec::new(),
    };
    MicrosoftDelegated {
        tenant: tenant_of(path, written.tenant.as_ref(), findings),
        client_id: client_id_of(path, written.client_id.as_ref(), findings),
        client_secret,
        cloud,
        authority: authority.unwrap_or_else(fallback),
        scope: delegated_scope(path, written.scope.as_ref(), cloud, findings),
    }
}

pub(super) fn managed_identity(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> Option<ManagedIdentity> {
    let identity = match (&written.client_id, &written.object_id, &written.resource_id) {
        (None, None, None) => AzureIdentity::Default,
        (Some(id), None, None) => AzureIdentity::ClientId(id.clone()),
        (None, Some(id), None) => AzureIdentity::ObjectId(id.clone()),
        (None, None, Some(id)) => AzureIdentity::ResourceId(id.clone()),
        _ => {
            let what =
                format!("`{path}` has to name one of `client_id`, `object_id` and `resource_id`");
            findings.error(path, what, "without any it is the machine's own identity");
            AzureIdentity::Default
        }
    };
    let resource = written.resource.clone().unwrap_or(RESOURCE.to_owned());
    if resource.ends_with("/.default") {
        let key = format!("{path}.resource");
        let what = format!("`{key}` is `{resource}`, which is a scope");
        findings.warn(&key, what, &format!("write \"{RESOURCE}\""));
    }
    let key = format!("{path}.endpoint");
    let text = written.endpoint.as_deref().unwrap_or(METADATA);
    // Plain http is what the metadata service speaks: it is reached without leaving the machine.
    let endpoint = Url::parse(text)
        .ok()
        .filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    if endpoint.is_none() {
        let what = format!("`{key}` is `{text}`, which is no URL");
        findings.error(&key, what, &format!("write \"{METADATA}\""));
    }
    Some(ManagedIdentity {
        identity,
        resource,
        endpoint: endpoint?,
    })
}

fn or_variable(
    written: Option<&String>,
    variable: &str,
    findings: &Findings<'_>,
) -> Option<String> {
    written
        .cloned()
        .or_else(|| findings.environment.get(variable).map(str::to_owned))
}

fn tenant_of(path: &str, written: Option<&String>, findings: &mut Findings<'_>) -> String {
    let tenant = required(path, "tenant", written, OVERVIEW, findings);
    if tenant.contains(['/', ' ', '?', '#', '@']) {
        let what = format!("`{path}.tenant` is `{tenant}`, which is no tenant");
        findings.error(&format!("{path}.tenant"), what, TENANT);
    }
    tenant
}

fn client_id_of(path: &str, written: Option<&String>, findings: &mut Findings<'_>) -> String {
    let client_id = required(path, "client_id", written, OVERVIEW, findings);
    if !client_id.is_empty() && uuid::Uuid::parse_str(&client_id).is_err() {
        let what = format!("`{path}.client_id` is no id of an Entra application");
        let hint = "copy \"Application (client) ID\" from the app registration's overview";
        findings.warn(&format!("{path}.client_id"), what, hint);
    }
    client_id
}

/// Exactly one of three.
fn proof(
    path: &str,
    written: &raw::Credential,
    findings: &mut Findings<'_>,
) -> Option<MicrosoftProof> {
    let (secret, certificate, federated) = (
        &written.client_secret,
        &written.certificate,
        &written.federated_token,
    );
    match (secret, certificate, federated) {
        (Some(_), None, None) => Some(MicrosoftProof::Secrets(references(
            &format!("{path}.client_secret"),
            secret.as_ref(),
            findings,
        ))),
        (None, Some(written), None) => Some(MicrosoftProof::Certificates(certificates(
            &format!("{path}.certificate"),
            written,
            findings,
        ))),
        (None, None, Some(written)) => {
            federated_file(path, written, findings).map(MicrosoftProof::FederatedToken)
        }
        (None, None, None) => {
            let spoiled = ["certificate", "federated_token"]
                .iter()
                .any(|key| findings.is_spoiled(&format!("{path}.{key}")));
            if !spoiled {
                let hint = "write client_secret = { file = \"/run/secrets/NAME\" }, certificate = { file = \"/run/secrets/NAME.pem\" } or federated_token = { file = \"…\" }";
                findings.missing(&format!("{path}.client_secret"), hint);
            }
            None
        }
        _ => {
            let what = format!(
                "`{path}` has to have exactly one of `client_secret`, `certificate` and `federated_token`"
            );
            findings.error(
                path,
                what,
                "keep one of them; each of the first two may be a list",
            );
            None
        }
    }
}

fn certificates(
    path: &str,
    written: &Certificates,
    findings: &mut Findings<'_>,
) -> Vec<CertificateRef> {
    let list = match written {
        Certificates::One(one) => std::slice::from_ref(one),
        Certificates::Many(many) => many,
    };
    if list.is_empty() {
        findings.error(path, format!("`{path}` is an empty list"), "");
    }
    list.iter()
        .filter_map(|one| certificate(path, one, findings))
        .collect()
}

fn certificate(
    path: &str,
    written: &raw::Certificate,
    findings: &mut Findings<'_>,
) -> Option<CertificateRef> {
    let Some(file) = &written.file else {
        let hint = "write { file = \"/run/secrets/NAME.pem\" }";
        findings.missing(&format!("{path}.file"), hint);
        return None;
    };
    let is_pkcs12 = [".p12", ".pfx"]
        .iter()
        .any(|end| file.to_lowercase().ends_with(end));
    let file = findings.path(file);
    if let Err(error) = std::fs::File::open(&file) {
        let what = format!("`{path}`: {} cannot be read: {error}", file.display());
        findings.warn(path, what, "");
    } else if written.key.is_none() {
        look_at_mode(path, &file, findings);
    }
    let source = match (&written.key, &written.password, is_pkcs12) {
        (Some(_), Some(_), _) => {
            let what = format!("`{path}` has `key` and `password`");
            let hint = "a PEM certificate has a `key`, a PKCS#12 file a `password`";
            findings.error(path, what, hint);
            return None;
        }
        (Some(_), None, true) => {
            let what = format!("`{path}`: a PKCS#12 file holds its key itself");
            findings.error(&format!("{path}.key"), what, "remove `key`");
            return None;
        }
        (Some(key), None, false) => CertificateSource::PemAndKey {
            certificate: file,
            key: one(&format!("{path}.key"), key, findings)?,
        },
        (None, Some(password), _) => CertificateSource::Pkcs12 {
            file,
            password: Some(one(&format!("{path}.password"), password, findings)?),
        },
        (None, None, true) => CertificateSource::Pkcs12 {
            file,
            password: None,
        },
        (None, None, false) => CertificateSource::Pem(file),
    };
    Some(CertificateRef {
        source,
        algorithm: match written.algorithm {
            Some(raw::Algorithm::Rs256) => SignatureAlgorithm::Rs256,
            Some(raw::Algorithm::Ps256) | None => SignatureAlgorithm::Ps256,
        },
    })
}

fn federated_file(
    path: &str,
    written: &FederatedToken,
    findings: &mut Findings<'_>,
) -> Option<PathBuf> {
    let path = format!("{path}.federated_token");
    let file = match written {
        FederatedToken::File(written) => match &written.file {
            Some(file) => findings.path(file),
            None => {
                findings.missing(&format!("{path}.file"), "write { file = \"…\" }");
                return None;
            }
        },
        FederatedToken::Preset(raw::FederationPreset::Azure) => {
            let Some(file) = findings.environment.get(AZURE_FILE) else {
                let what = format!("`{path}` is `azure`, and {AZURE_FILE} is not set");
                let hint = "label the pod with azure.workload.identity/use: \"true\", or write { file = \"…\" }";
                findings.error(&path, what, hint);
                return None;
            };
            Path::new(file).to_owned()
        }
    };
    if let Err(error) = std::fs::File::open(&file) {
        let what = format!("`{path}`: {} cannot be read: {error}", file.display());
        findings.warn(&path, what, "");
    }
    Some(file)
}

/// The cloud and its login host; the path to the token endpoint is added to it.
fn authority(
    path: &str,
    cloud: Option<raw::Cloud>,
    written: Option<&String>,
    findings: &mut Findings<'_>,
) -> (Cloud, Option<Url>) {
    let key = format!("{path}.authority");
    let named = cloud.map(cloud_of);
    let default = named.unwrap_or(Cloud::Global).authority();
    let hint = format!("write \"{default}\"");
    let url = provider(&key, written, Some(default), &hint, findings);
    let cloud = named
        .or_else(|| url.as_ref().and_then(cloud_at))
        .unwrap_or(Cloud::Global);
    if cloud.is_unverified() {
        let at = format!("{path}.cloud");
        let what =
            format!("`{at}` is `{cloud}`: nothing confirms scope and hosts of this cloud for IMAP");
        findings.warn(
            &at,
            what,
            "if a token is refused, set `scope` and `authority`",
        );
    }
    if let Some(url) = &url {
        if url.path().ends_with("/oauth2/token") {
            let what = format!(
                "`{key}` is a token endpoint of the old v1 form, whose tokens lack `roles`"
            );
            findings.warn(
                &key,
                what,
                "write the login host alone; the v2.0 endpoint is added",
            );
        } else if url.path().contains("/oauth2/") {
            let what = format!("`{key}` is a token endpoint, it has to be the login host");
            findings.warn(&key, what, &hint);
        }
    }
    (cloud, url)
}

fn cloud_of(written: raw::Cloud) -> Cloud {
    match written {
        raw::Cloud::Global => Cloud::Global,
        raw::Cloud::GccHigh => Cloud::GccHigh,
        raw::Cloud::Dod => Cloud::Dod,
        raw::Cloud::China => Cloud::China,
    }
}

/// The cloud that a login host belongs to; GCC High and DoD share theirs.
fn cloud_at(url: &Url) -> Option<Cloud> {
    let host = url.host_str()?;
    [Cloud::Global, Cloud::GccHigh, Cloud::China]
        .into_iter()
        .find(|cloud| cloud.authority().strip_prefix("https://") == Some(host))
}

#[expect(
    clippy::expect_used,
    reason = "the text is a constant, and a test parses it"
)]
fn fallback() -> Url {
    Url::parse(Cloud::Global.authority()).expect("a constant URL")
}

fn application_scope(
    path: &str,
    written: Option<&String>,
    cloud: Cloud,
    findings: &mut Findings<'_>,
) -> String {
    let path = format!("{path}.scope");
    let right = cloud.application_scope();
    let scope = written.map_or(right, String::as_str);
    if !scope.ends_with("/.default") {
        let what =
            format!("`{path}` is `{scope}`: for client credentials it has to end in /.default");
        findings.warn(&path, what, &format!("write \"{right}\""));
    } else if let Some(why) = not_for_mail(scope) {
        let what = format!("`{path}` is `{scope}`: {why}");
        findings.warn(&path, what, &format!("write \"{right}\""));
    }
    scope.to_owned()
}

/// Scopes that Entra grants and no mail server accepts.
fn not_for_mail(scope: &str) -> Option<&'static str> {
    if scope.contains("graph.microsoft") || scope.contains("microsoftgraph.") {
        Some("its tokens are for Graph, which no mail server accepts")
    } else if scope.contains("ps.outlook.com") {
        Some("it is for the consent page only, its tokens open no mailbox")
    } else {
        None
    }
}

fn delegated_scope(
    path: &str,
    written: Option<&String>,
    cloud: Cloud,
    findings: &mut Findings<'_>,
) -> String {
    let path = format!("{path}.scope");
    let right = cloud.delegated_scope();
    let scope = written.map_or(right, String::as_str);
    let mut parts = scope.split_whitespace();
    let why = if let Some(why) = not_for_mail(scope) {
        Some(why)
    } else if parts.clone().any(|part| part == "IMAP.AccessAsUser.All") {
        Some(
            "without the resource before it this is a scope of Graph, which no mail server accepts",
        )
    } else if !parts
        .clone()
        .any(|part| part.ends_with("/IMAP.AccessAsUser.All"))
    {
        Some("it does not ask for IMAP.AccessAsUser.All")
    } else if !parts.any(|part| part == "offline_access") {
        Some("without offline_access there is no refresh token, and access ends within the hour")
    } else {
        None
    };
    if let Some(why) = why {
        let what = format!("`{path}` is `{scope}`: {why}");
        findings.warn(&path, what, &format!("write \"{right}\""));
    }
    scope.to_owned()
}
