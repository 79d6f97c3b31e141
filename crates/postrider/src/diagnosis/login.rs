//! Why a mail server refuses a login. Exchange says the same to many mistakes, so several causes are
//! told, the likeliest first, each with the command that decides.

use super::{
    Cause, Diagnosis, Possible, Told, claims,
    facts::{Before, Facts, Others, Provider, Way},
    names::Names,
    scrub::scrub,
    token::{own, skew},
};

/// How the server refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// To AUTHENTICATE or LOGIN itself.
    AtLogin,
    /// The login was accepted, and every command after it is refused.
    NotConnected,
}

pub(super) fn refused(facts: &Facts<'_>, refusal: Refusal, text: &str) -> Diagnosis {
    let said = format!("the mail server says {:?}", scrub(text, &own(facts)));
    let mut evidence = vec![said];
    // A token that cannot open any mailbox explains all that comes of it.
    if let Some(mut diagnosis) = claims::check(facts) {
        evidence.append(&mut diagnosis.evidence);
        diagnosis.evidence = evidence;
        return diagnosis;
    }
    evidence.extend(skew(facts));
    evidence.extend(history(facts));
    let names = Names(facts);
    let provider = facts
        .mailbox
        .map_or(Provider::Other, |mailbox| mailbox.provider);
    let possible = match (provider, facts.credential.way) {
        (Provider::Exchange, Way::Password) => return basic_auth(&names).with(evidence),
        (Provider::Exchange, _) => {
            if let Some(oid) = facts.claims.and_then(|claims| claims.oid.as_deref()) {
                evidence.push(format!(
                    "the token is good: roles and audience fit, oid = {oid}"
                ));
            }
            exchange(&names, refusal)
        }
        (Provider::Gmail | Provider::Other, Way::Password) => {
            return password(&names, provider, text).with(evidence);
        }
        (Provider::Gmail, _) => return gmail(&names, text).with(evidence),
        (Provider::Other, _) => return token_not_accepted(&names).with(evidence),
    };
    let words = text.to_owned();
    Diagnosis::likeliest(evidence.clone(), possible)
        .unwrap_or_else(|| token_not_accepted(&names).with(vec![words]))
}

fn history(facts: &Facts<'_>) -> Vec<String> {
    let others = match facts.others {
        Others::Unknown => None,
        Others::LetIn => Some("other mailboxes are let in with the same credential"),
        Others::Refused => Some("all other mailboxes of the same credential are refused too"),
    };
    let before = match facts.before {
        Before::Unknown => None,
        Before::LetIn => Some("this mailbox was let in before"),
    };
    others
        .into_iter()
        .chain(before)
        .map(str::to_owned)
        .collect()
}

/// How the access to a mailbox that must stay shut is taken away.
pub fn shut(facts: &Facts<'_>) -> Vec<String> {
    let names = Names(facts);
    let is_exchange = facts
        .mailbox
        .is_some_and(|mailbox| mailbox.provider == Provider::Exchange);
    if !is_exchange {
        return vec![
            "take this access away where it was given: at the mail server, or where the account is \
             administrated"
                .to_owned(),
        ];
    }
    let holder = match facts.credential.is_application() {
        true => names.object_id(),
        false => "'<the user who signed in>'".to_owned(),
    };
    vec![
        names.connect(),
        format!(
            "Get-MailboxPermission -Identity {} | fl User,AccessRights   # who may open it",
            names.mailbox()
        ),
        format!(
            "Remove-MailboxPermission -Identity {} -User {holder} -AccessRights FullAccess",
            names.mailbox()
        ),
    ]
}

/// All that looks like this at Exchange, the likelier first.
fn exchange(names: &Names<'_>, refusal: Refusal) -> Vec<Possible> {
    let facts = names.0;
    let is_application = facts.credential.is_application();
    let permission = || match is_application {
        true => permission_missing(names),
        false => user_permission_missing(names),
    };
    let mut possible = match (refusal, facts.others, facts.before) {
        (Refusal::NotConnected, Others::LetIn | Others::Unknown | Others::Refused, _) => vec![
            imap_disabled(names),
            permission(),
            unlicensed(names),
            not_primary(names),
        ],
        (Refusal::AtLogin, Others::LetIn, Before::Unknown) => {
            vec![permission(), not_found(names), imap_disabled(names)]
        }
        (Refusal::AtLogin, Others::LetIn, Before::LetIn) => {
            vec![withdrawn(names), not_found(names), imap_disabled(names)]
        }
        (Refusal::AtLogin, Others::Unknown | Others::Refused, Before::LetIn) => {
            let mut possible = vec![withdrawn(names)];
            possible.extend(is_application.then(|| principal_missing(names)));
            possible.push(not_found(names));
            possible
        }
        (Refusal::AtLogin, Others::Unknown | Others::Refused, Before::Unknown) => {
            let mut possible = Vec::new();
            if is_application {
                possible.push(principal_missing(names));
                possible.push(principal_wrong_id(names));
            }
            possible.extend([permission(), not_found(names), imap_disabled(names)]);
            possible
        }
    };
    possible.push(not_yet(names));
    possible
}

fn possible<const C: usize, const F: usize>(
    cause: Cause,
    what: impl Into<String>,
    check: [String; C],
    fix: [String; F],
) -> Possible {
    Possible {
        cause,
        what: what.into(),
        check: check.into(),
        fix: fix.into(),
    }
}

fn register(names: &Names<'_>) -> String {
    format!(
        "New-ServicePrincipal -AppId {} -ObjectId {} -DisplayName 'postrider'",
        names.client(),
        names.object_id()
    )
}

fn grant(names: &Names<'_>) -> String {
    format!(
        "Add-MailboxPermission -Identity {} -User {} -AccessRights FullAccess",
        names.mailbox(),
        names.object_id()
    )
}

fn principal_missing(names: &Names<'_>) -> Possible {
    possible(
        Cause::ServicePrincipalMissing,
        "Exchange does not know the application: its service principal is not registered there",
        [format!(
            "Get-ServicePrincipal | fl AppId,ObjectId   # no entry with AppId {}: this is it",
            names.application()
        )],
        [names.connect(), register(names), grant(names)],
    )
}

fn principal_wrong_id(names: &Names<'_>) -> Possible {
    let client = names.client();
    possible(
        Cause::ServicePrincipalWrongId,
        "the service principal is registered in Exchange with a wrong ObjectId (the one of App registrations is accepted there, and is wrong)",
        [format!(
            "Get-ServicePrincipal | fl AppId,ObjectId   # the entry with AppId {} must show ObjectId {}",
            names.application(),
            names.object_id().trim_matches('\'')
        )],
        [
            names.connect(),
            format!("Remove-ServicePrincipal -Identity {client}"),
            register(names),
            format!(
                "{}   # and so for every mailbox: the grants hung on the old one",
                grant(names)
            ),
        ],
    )
}

fn permission_missing(names: &Names<'_>) -> Possible {
    possible(
        Cause::MailboxPermissionMissing,
        "the application has no permission on this mailbox",
        [format!(
            "Get-MailboxPermission -Identity {} | fl User,AccessRights   # no FullAccess for the service principal: this is it",
            names.mailbox()
        )],
        [names.connect(), grant(names)],
    )
}

fn user_permission_missing(names: &Names<'_>) -> Possible {
    possible(
        Cause::MailboxPermissionMissing,
        "the user who signed in has no permission on this mailbox",
        [format!(
            "Get-MailboxPermission -Identity {} | fl User,AccessRights   # no FullAccess for the user who signed in: this is it",
            names.mailbox()
        )],
        [
            names.connect(),
            format!(
                "Add-MailboxPermission -Identity {} -User '<the user who signed in>' -AccessRights FullAccess",
                names.mailbox()
            ),
        ],
    )
}

fn withdrawn(names: &Names<'_>) -> Possible {
    let restore = match names.0.credential.is_application() {
        true => grant(names),
        false => format!("sign in again: postrider login {}", names.credential()),
    };
    possible(
        Cause::AccessWithdrawn,
        "this mailbox was open before and is refused now: its permission was taken away, or Exchange is in trouble for the moment",
        [format!(
            "Get-MailboxPermission -Identity {} | fl User,AccessRights   # FullAccess must still be there",
            names.mailbox()
        )],
        [names.connect(), restore],
    )
}

fn imap_disabled(names: &Names<'_>) -> Possible {
    let mailbox = names.mailbox();
    possible(
        Cause::ImapDisabled,
        "IMAP is switched off for this mailbox",
        [format!(
            "Get-CASMailbox -Identity {mailbox} | fl ImapEnabled   # False: this is it"
        )],
        [
            names.connect(),
            format!("Set-CASMailbox -Identity {mailbox} -ImapEnabled $true"),
        ],
    )
}

fn unlicensed(names: &Names<'_>) -> Possible {
    possible(
        Cause::MailboxUnlicensed,
        "the mailbox has no licence with Exchange Online (a shared mailbox needs none)",
        [format!(
            "Get-Mailbox -Identity {} | fl RecipientTypeDetails,SkuAssigned   # a UserMailbox with SkuAssigned False: this is it",
            names.mailbox()
        )],
        [
            "https://admin.microsoft.com: Users > Active users > the user > Licenses and apps"
                .to_owned(),
        ],
    )
}

fn not_primary(names: &Names<'_>) -> Possible {
    possible(
        Cause::AddressNotPrimary,
        "the address is an alias, not the mailbox's primary one",
        [format!(
            "Get-Mailbox -Identity {} | fl PrimarySmtpAddress,UserPrincipalName",
            names.mailbox()
        )],
        [
            "set the mailbox's username to its PrimarySmtpAddress (or, failing that, its UserPrincipalName)"
                .to_owned(),
        ],
    )
}

fn not_found(names: &Names<'_>) -> Possible {
    possible(
        Cause::MailboxNotFound,
        "there is no mailbox of this address",
        [format!(
            "Get-Mailbox -Identity {} | fl PrimarySmtpAddress   # an error: this is it",
            names.mailbox()
        )],
        ["correct the mailbox's address or username in the configuration".to_owned()],
    )
}

fn not_yet(_: &Names<'_>) -> Possible {
    possible(
        Cause::NotYetReplicated,
        "all of it is right, and does not work everywhere yet",
        [],
        [
            "wait: permissions take minutes to an hour, IMAP half an hour; postrider tries again by itself"
                .to_owned(),
        ],
    )
}

fn basic_auth(names: &Names<'_>) -> Told {
    let key = names.credential();
    Told::new(
        Cause::BasicAuthOff,
        "Exchange Online takes no passwords over IMAP any more",
        [
            format!("give [credentials.{key}] type = \"microsoft\" (application access)"),
            format!("or type = \"microsoft-delegated\" and `postrider login {key}`"),
        ],
    )
}

/// What a server says to a refused password. Foreign servers' free text is searched here alone.
fn password(names: &Names<'_>, provider: Provider, text: &str) -> Told {
    let said = text.to_ascii_lowercase();
    let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    let key = names.credential();
    // Exchange, Outlook.com.
    if any(&["basicauthblocked"]) {
        return basic_auth(names);
    }
    // RFC 3501 section 6.2.3, and this product's own words for it.
    if any(&["logindisabled", "plaintext authentication disallowed"]) {
        return Told::new(
            Cause::PasswordsNotTaken,
            "the server takes no passwords on this connection",
            [
                "use tls = \"implicit\" (port 993) or \"starttls\"; or a credential with OAuth where the server wants one"
                    .to_owned(),
            ],
        );
    }
    // Gmail, Yahoo.
    if any(&[
        "application-specific password",
        "app password",
        "app-specific",
    ]) {
        return Told::new(
            Cause::AppPasswordNeeded,
            "the server wants an app password instead of the account's own",
            [format!(
                "make one in the account's security settings, and put it into [credentials.{key}] password"
            )],
        );
    }
    if let Some(told) = google_account(&said, names) {
        return told;
    }
    // Dovecot, Cyrus, Stalwart.
    if any(&["locked", "disabled", "suspended", "too many", "temporarily"]) {
        return Told::new(
            Cause::AccountLocked,
            "the account is locked or disabled",
            [
                "ask whoever runs the mail server; a lock after wrong passwords ends by itself, once nothing tries them any more"
                    .to_owned(),
            ],
        );
    }
    let more = match provider {
        Provider::Gmail => {
            " (Gmail takes app passwords only, and only with 2-step verification switched on)"
        }
        Provider::Exchange | Provider::Other => "",
    };
    Told::new(
        Cause::PasswordWrong,
        format!("wrong user name or password{more}"),
        [
            format!(
                "check the password that [credentials.{key}] refers to; a changed file is used at once"
            ),
            format!(
                "check the user name {}: set username where it is not the address",
                names.mailbox()
            ),
        ],
    )
}

/// Gmail's words about an account.
fn google_account(said: &str, names: &Names<'_>) -> Option<Told> {
    let any = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
    if any(&["not enabled for imap", "imap access is disabled"]) {
        return Some(Told::new(
            Cause::ImapDisabled,
            "IMAP is switched off for this account",
            [
                "Gmail of the account: Settings > See all settings > Forwarding and POP/IMAP > Enable IMAP".to_owned(),
                "or for the domain: https://admin.google.com: Apps > Google Workspace > Gmail > End User Access > POP and IMAP access".to_owned(),
            ],
        ));
    }
    if any(&["web browser", "web login required"]) {
        return Some(Told::new(
            Cause::WebSignInNeeded,
            "Google wants a person to sign in with a browser first",
            [format!(
                "sign in as {} at https://mail.google.com, from this machine's network if possible",
                names.mailbox()
            )],
        ));
    }
    None
}

/// Gmail refuses a token.
fn gmail(names: &Names<'_>, text: &str) -> Told {
    if let Some(told) = google_account(&text.to_ascii_lowercase(), names) {
        return told;
    }
    let key = names.credential();
    match names.0.credential.way {
        Way::ServiceAccount => Told::new(
            Cause::TokenNotAccepted,
            "Gmail does not take the token for this account: its scope, or IMAP is off for the account",
            [
                format!(
                    "[credentials.{key}] scope: \"https://mail.google.com/\", or \"https://www.googleapis.com/auth/gmail.imap_admin\", which does not depend on the user's own IMAP setting; authorise it for the service account's client id in https://admin.google.com"
                ),
                format!(
                    "check that {} is the user's primary address",
                    names.mailbox()
                ),
            ],
        ),
        Way::Application
        | Way::ManagedIdentity
        | Way::Delegated
        | Way::GoogleDelegated
        | Way::OAuth2
        | Way::Token
        | Way::Password => Told::new(
            Cause::TokenNotAccepted,
            "Gmail does not take the token for this account: another account signed in, or its scope is not https://mail.google.com/",
            [format!(
                "sign in as {}: postrider login {key}",
                names.mailbox()
            )],
        ),
    }
}

fn token_not_accepted(names: &Names<'_>) -> Told {
    let key = names.credential();
    Told::new(
        Cause::TokenNotAccepted,
        "the mail server does not take this token for this user",
        [
            format!(
                "check that the server trusts the issuer of [credentials.{key}], its audience and scope: the server's own log says which of them fails"
            ),
            format!(
                "check the user name {}: set username where it is not the address",
                names.mailbox()
            ),
        ],
    )
}
