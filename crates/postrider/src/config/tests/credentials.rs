//! Credentials of every type: what loads, what is filled in, and what is refused in which words.

use postrider_core::{ids::CredentialKey, time::Wall};

use super::*;
use crate::config::{
    AzureIdentity, CertificateSource, Cloud, Credential, CredentialKind, MicrosoftProof,
    OAuth2Grant, RefreshFrom, SecretRef, SignatureAlgorithm, TokenSource,
};

const ENTRA: &str = "type = \"microsoft\"\ntenant = \"contoso.com\"\nclient_id = \"11111111-2222-3333-4444-555555555555\"\n";
const PERSON: &str = "type = \"microsoft-delegated\"\ntenant = \"contoso.com\"\nclient_id = \"11111111-2222-3333-4444-555555555555\"\n";

/// The good configuration with another credential of the name `lab`; its first key is in line 2.
fn with(credential: &str) -> World {
    spoiled(
        "type = \"password\"\npassword = { env = \"LAB_PASSWORD\" }\n",
        credential,
    )
}

fn entra(keys: &str) -> World {
    with(&format!("{ENTRA}{keys}"))
}

fn lab(world: &World) -> Credential {
    let loaded = world.load();
    Credential::clone(&loaded.config.credentials[&CredentialKey::new("lab")])
}

#[track_caller]
fn error(credential: &str, wanted: &str) {
    assert_eq!(with(credential).errors(), wanted);
}

#[track_caller]
fn warns(credential: &str, wanted: &str) {
    let said = with(credential).warnings();
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn an_application_shows_exactly_one_of_three_proofs() {
    let Err(problems) =
        entra("certificate = { file = \"a.pem\" }\nclient_secret = { env = \"LAB_PASSWORD\" }\n")
            .try_load()
    else {
        panic!("it loads");
    };
    let said = problems[0].to_string();
    assert!(said.contains("c.toml:1: `credentials.lab` has to have exactly one of `client_secret`, `certificate` and `federated_token`"), "{said}");
    let said = entra("").errors();
    assert!(
        said.contains("`credentials.lab.client_secret` is missing"),
        "{said}"
    );
    assert!(said.contains("certificate = {"), "{said}");
}

#[test]
fn certificates_are_pem_with_a_key_inside_or_beside_or_pkcs12() {
    let world = entra(
        "certificate = [{ file = \"both.pem\" }, { file = \"cert.pem\", key = { env = \"LAB_PASSWORD\" }, algorithm = \"RS256\" }, { file = \"a.PFX\" }, { file = \"b\", password = { env = \"LAB_PASSWORD\" } }]\n",
    );
    let CredentialKind::Microsoft(app) = lab(&world).kind else {
        panic!("another kind");
    };
    let MicrosoftProof::Certificates(certificates) = app.proof else {
        panic!("another proof");
    };
    let at = |name: &str| world.folder.path().join(name);
    let variable = || SecretRef::Env("LAB_PASSWORD".to_owned());
    let sources: Vec<_> = certificates.iter().map(|one| &one.source).collect();
    assert_eq!(
        sources,
        [
            &CertificateSource::Pem(at("both.pem")),
            &CertificateSource::PemAndKey {
                certificate: at("cert.pem"),
                key: variable()
            },
            &CertificateSource::Pkcs12 {
                file: at("a.PFX"),
                password: None
            },
            &CertificateSource::Pkcs12 {
                file: at("b"),
                password: Some(variable())
            },
        ]
    );
    assert_eq!(certificates[0].algorithm, SignatureAlgorithm::Ps256);
    assert_eq!(certificates[1].algorithm, SignatureAlgorithm::Rs256);
    let said = entra("certificate = { file = \"a.p12\", key = { env = \"X\" } }\n").errors();
    assert!(
        said.contains("a PKCS#12 file holds its key itself"),
        "{said}"
    );
    let said = entra("certificate = { key = { env = \"X\" } }\n").errors();
    assert!(
        said.contains("`credentials.lab.certificate.file` is missing"),
        "{said}"
    );
    let said = entra("certificate = { file = \"a.pem\", key = \"-----BEGIN\" }\n").errors();
    assert!(said.contains("holds a secret itself"), "{said}");
}

#[test]
fn workload_identity_is_filled_in_from_what_azure_tells_the_pod() {
    let bare = with("type = \"microsoft\"\nfederated_token = \"azure\"\n");
    let said = bare.errors();
    assert!(said.contains("`credentials.lab.federated_token` is `azure`, and AZURE_FEDERATED_TOKEN_FILE is not set"), "{said}");
    let world = bare
        .set("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token")
        .set("AZURE_CLIENT_ID", "11111111-2222-3333-4444-555555555555")
        .set("AZURE_TENANT_ID", "contoso")
        .set("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/");
    let CredentialKind::Microsoft(app) = lab(&world).kind else {
        panic!("another kind");
    };
    assert_eq!(
        app.proof,
        MicrosoftProof::FederatedToken("/var/run/token".into())
    );
    assert_eq!(
        (app.tenant.as_str(), app.cloud),
        ("contoso", Cloud::GccHigh)
    );
    assert_eq!(app.scope, "https://outlook.office365.us/.default");
    let said = with("type = \"microsoft\"\nfederated_token = \"aws\"\n").errors();
    assert!(said.contains("it has to be \"azure\""), "{said}");
}

#[test]
fn a_cloud_sets_authority_and_scope_and_unverified_ones_are_flagged() {
    let secret = "client_secret = { env = \"LAB_PASSWORD\" }\n";
    for (cloud, authority, scope, flagged) in [
        (
            "global",
            "https://login.microsoftonline.com/",
            "https://outlook.office365.com/.default",
            false,
        ),
        (
            "gcc-high",
            "https://login.microsoftonline.us/",
            "https://outlook.office365.us/.default",
            false,
        ),
        (
            "dod",
            "https://login.microsoftonline.us/",
            "https://outlook.office365.us/.default",
            true,
        ),
        (
            "china",
            "https://login.partner.microsoftonline.cn/",
            "https://partner.outlook.cn/.default",
            true,
        ),
    ] {
        let world = entra(&format!("{secret}cloud = \"{cloud}\"\n"));
        let CredentialKind::Microsoft(app) = lab(&world).kind else {
            panic!("another kind");
        };
        assert_eq!(
            (app.authority.as_str(), app.scope.as_str()),
            (authority, scope)
        );
        let said = world.warnings();
        assert_eq!(
            said.contains("nothing confirms scope and hosts"),
            flagged,
            "{said}"
        );
    }
    let said = entra(&format!(
        "{secret}scope = \"https://graph.microsoft.com/.default\"\n"
    ))
    .warnings();
    assert!(
        said.contains("for Graph, which no mail server accepts"),
        "{said}"
    );
}

#[test]
fn a_persons_access_needs_the_vault_and_the_right_scope() {
    error(
        PERSON,
        "c.toml: `vault.key` is missing: the refresh token of `lab` is kept encrypted\n  hint: write key = { file = \"/etc/postrider/vault.key\" }, and make the file with `openssl rand -base64 32`",
    );
    let world = with(&format!(
        "{PERSON}[vault]\nkey = {{ env = \"LAB_PASSWORD\" }}\n"
    ));
    let credential = lab(&world);
    assert!(credential.kind.uses_vault());
    let CredentialKind::MicrosoftDelegated(person) = credential.kind else {
        panic!("another kind");
    };
    assert_eq!(
        person.scope,
        "https://outlook.office.com/IMAP.AccessAsUser.All offline_access"
    );
    assert!(person.client_secret.is_empty());
    let config = world.load().config;
    assert_eq!(config.vault.path, config.store.path.with_file_name("vault"));
    for (scope, why) in [
        ("IMAP.AccessAsUser.All offline_access", "a scope of Graph"),
        (
            "https://outlook.office.com/IMAP.AccessAsUser.All",
            "no refresh token",
        ),
        (
            "https://outlook.office.com/SMTP.Send offline_access",
            "does not ask for IMAP",
        ),
    ] {
        let text =
            format!("{PERSON}scope = \"{scope}\"\n[vault]\nkey = {{ env = \"LAB_PASSWORD\" }}\n");
        warns(&text, why);
    }
}

#[test]
fn a_machines_identity_is_never_asked_for_through_a_proxy() {
    let world = with(
        "type = \"managed-identity\"\nclient_id = \"a\"\n[network]\nproxy = \"http://proxy:3128\"\n",
    );
    let credential = lab(&world);
    assert_eq!(credential.proxy, crate::config::Proxy::None);
    let CredentialKind::ManagedIdentity(machine) = credential.kind else {
        panic!("another kind");
    };
    assert_eq!(machine.identity, AzureIdentity::ClientId("a".to_owned()));
    assert_eq!(machine.endpoint.as_str(), "http://169.254.169.254/");
    error(
        "type = \"managed-identity\"\nproxy = \"env\"\n",
        "c.toml:3: `credentials.lab.proxy` does not belong to a credential of type managed-identity\n  hint: remove it: the metadata service is this machine's own",
    );
    error(
        "type = \"managed-identity\"\nobject_id = \"a\"\nresource_id = \"b\"\n",
        "c.toml:1: `credentials.lab` has to name one of `client_id`, `object_id` and `resource_id`\n  hint: without any it is the machine's own identity",
    );
}

#[test]
fn other_providers_have_their_defaults_and_their_doubts() {
    let world = with("type = \"google\"\nservice_account = { env = \"LAB_PASSWORD\" }\n");
    let CredentialKind::Google(google) = lab(&world).kind else {
        panic!("another kind");
    };
    assert_eq!(
        (google.scope.as_str(), google.token_url),
        ("https://mail.google.com/", None)
    );
    let delegated = "type = \"google-delegated\"\nclient_id = \"x\"\nclient_secret = { env = \"LAB_PASSWORD\" }\n[vault]\nkey = { env = \"LAB_PASSWORD\" }\n";
    let CredentialKind::GoogleDelegated(google) = lab(&with(delegated)).kind else {
        panic!("another kind");
    };
    assert_eq!(
        google.token_url.as_str(),
        "https://oauth2.googleapis.com/token"
    );
    let generic =
        "type = \"oauth2\"\ntoken_url = \"https://login.example.org/token\"\nclient_id = \"x\"\n";
    let said = with(generic).errors();
    assert!(
        said.contains("`credentials.lab.client_secret` is missing"),
        "{said}"
    );
    let said = with(&format!("{generic}grant = \"refresh_token\"\n")).errors();
    assert!(said.contains("no way to get its refresh token"), "{said}");
    let fixed = format!(
        "{generic}grant = \"refresh_token\"\nrefresh_token = {{ env = \"LAB_PASSWORD\" }}\n"
    );
    let CredentialKind::OAuth2(oauth2) = lab(&with(&fixed)).kind else {
        panic!("another kind");
    };
    let reference = SecretRef::Env("LAB_PASSWORD".to_owned());
    assert_eq!(
        oauth2.grant,
        OAuth2Grant::RefreshToken(RefreshFrom::Secrets(vec![reference]))
    );
    warns(
        "type = \"oauth2\"\ntoken_url = \"https://login.microsoftonline.com/t/oauth2/token\"\nclient_id = \"x\"\nclient_secret = { env = \"LAB_PASSWORD\" }\n",
        "whose tokens lack `roles`",
    );
    let said = with("type = \"oauth2\"\ntoken_url = \"http://login.example.org/token\"\nclient_id = \"x\"\nclient_secret = { env = \"LAB_PASSWORD\" }\n").errors();
    assert!(said.contains("is not https"), "{said}");
}

#[test]
fn a_token_comes_from_a_reference_or_from_a_program_with_an_absolute_path() {
    let world =
        with("type = \"token\"\ncommand = [\"/bin/echo\", \"token\"]\nlifetime = \"10m\"\n");
    let CredentialKind::Token(token) = lab(&world).kind else {
        panic!("another kind");
    };
    assert_eq!(
        token.source,
        TokenSource::Command {
            program: "/bin/echo".into(),
            args: vec!["token".to_owned()]
        }
    );
    error(
        "type = \"token\"\ncommand = [\"echo\"]\n",
        "c.toml:3: `credentials.lab.command` begins with `echo`, which is no absolute path\n  hint: write [\"/usr/local/bin/PROGRAM\", \"ARGUMENT\"]",
    );
    let said =
        with("type = \"token\"\ncommand = [\"/bin/echo\"]\ntoken = { env = \"X\" }\n").errors();
    assert!(
        said.contains("exactly one of `token` and `command`"),
        "{said}"
    );
}

#[test]
fn every_type_refuses_the_keys_of_others() {
    let said =
        with("type = \"token\"\ntoken = { env = \"LAB_PASSWORD\" }\ncloud = \"global\"\n").errors();
    assert!(
        said.contains("`credentials.lab.cloud` does not belong to a credential of type token"),
        "{said}"
    );
    let said = with(
        "type = \"password\"\npassword = { env = \"LAB_PASSWORD\" }\ncommand = [\"/bin/echo\"]\n",
    )
    .errors();
    assert!(
        said.contains("`credentials.lab.command` does not belong"),
        "{said}"
    );
}

#[test]
fn an_end_is_a_date_with_or_without_quotes() {
    let secret = "client_secret = { env = \"LAB_PASSWORD\" }\n";
    for date in ["\"2027-05-01\"", "2027-05-01"] {
        let credential = lab(&entra(&format!("{secret}expires = {date}\n")));
        assert_eq!(credential.expires, Some(Wall::from_seconds(1_809_129_600)));
    }
    let said = entra(&format!("{secret}expires = \"in May\"\n")).errors();
    assert!(said.contains("`in May`, which is no date"), "{said}");
    let said = entra(&format!("{secret}expires = \"2026-05-01\"\n")).warnings();
    assert!(said.contains("is 2026-05-01, which is over"), "{said}");
}

#[test]
fn a_mailbox_is_not_watched_with_an_access_that_must_not_open_it() {
    let secret = "client_secret = { env = \"LAB_PASSWORD\" }\n";
    let world = entra(&format!("{secret}must_not_open = [\"ceo@example.org\"]\n"));
    assert_eq!(lab(&world).must_not_open, ["ceo@example.org"]);
    let said = entra(&format!("{secret}must_not_open = [\"LAB@example.org\"]\n")).errors();
    assert!(
        said.contains("names the mailbox `lab`, which is to be watched with it"),
        "{said}"
    );
    let said = entra(&format!("{secret}must_not_open = [\"ceo\"]\n")).errors();
    assert!(said.contains("`ceo`, which is no mail address"), "{said}");
}

#[test]
fn access_of_one_provider_at_anothers_server_is_doubted() {
    let google = "type = \"google\"\nservice_account = { env = \"LAB_PASSWORD\" }\n";
    let at = |credential: &str, server: &str| {
        let text = GOOD
            .replacen(
                "type = \"password\"\npassword = { env = \"LAB_PASSWORD\" }\n",
                credential,
                1,
            )
            .replacen("{ host = \"imap.example.org\" }", server, 1);
        World::new(&text)
            .set("LAB_PASSWORD", "x")
            .set("TICKETS_SECRET", "x")
            .warnings()
    };
    let said = at(google, "\"exchange-online\"");
    assert!(
        said.contains("Exchange Online knows nothing of Google's tokens, which `lab` gives"),
        "{said}"
    );
    let said = at(
        &format!("{ENTRA}client_secret = {{ env = \"LAB_PASSWORD\" }}\n"),
        "\"gmail\"",
    );
    assert!(
        said.contains("Gmail knows nothing of Microsoft's tokens"),
        "{said}"
    );
}

#[test]
fn an_endpoint_at_an_address_that_is_never_posted_to_is_refused() {
    for (address, why) in [
        ("169.254.169.254", "a cloud metadata service"),
        ("169.254.7.7", "a link-local address"),
        ("0.0.0.0", "an unspecified address"),
        ("[ff02::1]", "a multicast address"),
    ] {
        let said = spoiled("tickets.example.org", address).errors();
        assert!(
            said.contains(&format!("`endpoints.tickets.url` is {why}")),
            "{said}"
        );
    }
}
