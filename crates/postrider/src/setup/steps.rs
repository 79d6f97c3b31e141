//! The steps in the portal, in order, in the words that the portal uses.

use super::{Exchange, Identity};

/// One step, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub title: &'static str,
    pub lines: Vec<String>,
}

/// What a person does before the script, and after it.
pub fn steps(setup: &Exchange) -> Vec<Step> {
    let mut steps = match setup.identity {
        Identity::Managed => vec![managed(setup)],
        Identity::Open | Identity::Secret | Identity::Certificate | Identity::Federation => {
            vec![register(setup), permissions(setup), proof(setup.identity)]
        }
    };
    steps.push(object_id(setup));
    steps.push(script(setup));
    steps.push(afterwards());
    steps
}

fn step(title: &'static str, lines: &[&str]) -> Step {
    Step {
        title,
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
    }
}

fn register(setup: &Exchange) -> Step {
    let portal = setup.cloud.portal();
    let known = match &setup.client_id {
        Some(id) => format!("Application (client) ID: {id}. If that is there already, go on."),
        None => "Note the Application (client) ID: --client-id, client_id in the configuration."
            .to_owned(),
    };
    Step {
        title: "Register the application",
        lines: vec![
            format!("{portal} > App registrations > New registration, single tenant."),
            format!("Tenant: {}.", setup.tenant),
            known,
        ],
    }
}

fn permissions(setup: &Exchange) -> Step {
    let names = setup.protocols.permissions().join(" and ");
    let mut step = step(
        "Permission and consent",
        &[
            "API permissions > Add a permission > APIs my organization uses > Office 365 Exchange Online",
            "> Application permissions. Microsoft Graph's list does not have it. If that API is not",
            "listed, the tenant has no Exchange Online.",
        ],
    );
    step.lines.push(format!(
        "Tick {names}, then press Grant admin consent. Without consent tokens come all the same,"
    ));
    step.lines
        .push("but without the role, and the login is refused.".to_owned());
    step
}

fn proof(identity: Identity) -> Step {
    let title = "How the application shows who it is";
    match identity {
        Identity::Secret => step(
            title,
            &[
                "Certificates & secrets > New client secret. Copy the Value, not the Secret ID.",
                "It lives 24 months at most: put its end into the configuration as expires = \"...\".",
            ],
        ),
        Identity::Certificate => step(
            title,
            &[
                "Certificates & secrets > Certificates > Upload certificate: the public part only.",
                "The private key stays with postrider. Two at once are fine, for rotation.",
            ],
        ),
        Identity::Federation => step(
            title,
            &[
                "Certificates & secrets > Federated credentials > Add credential. Issuer and subject",
                "must match the token's exactly, audience api://AzureADTokenExchange.",
                "AADSTS70021 in the first minutes is normal.",
            ],
        ),
        Identity::Open | Identity::Managed => step(
            title,
            &[
                "Certificates & secrets: a certificate (the public part is uploaded) or, for a start, a",
                "client secret (copy the Value, not the Secret ID); a federated credential on Kubernetes.",
            ],
        ),
    }
}

/// A managed identity has no page for permissions: they are assigned by Microsoft Graph.
fn managed(setup: &Exchange) -> Step {
    let mut step = step(
        "Give the managed identity its permission",
        &[
            "There is no page for it in the portal. In PowerShell (Install-Module Microsoft.Graph):",
            "Connect-MgGraph -Scopes AppRoleAssignment.ReadWrite.All, Application.Read.All",
            "$exchange = Get-MgServicePrincipal -Filter \"appId eq '00000002-0000-0ff1-ce00-000000000000'\"",
        ],
    );
    let id = match &setup.object_id {
        Some(id) => id.as_str(),
        None => "<object id of the identity>",
    };
    for name in setup.protocols.permissions() {
        step.lines.push(format!(
            "$role = $exchange.AppRoles | Where-Object Value -eq '{name}'"
        ));
        step.lines.push(format!(
            "New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId '{id}' -PrincipalId '{id}' -ResourceId $exchange.Id -AppRoleId $role.Id"
        ));
    }
    step.lines.push(
        "Not confirmed by any document for IMAP; the parts are. postrider doctor tells whether it works."
            .to_owned(),
    );
    step
}

fn object_id(setup: &Exchange) -> Step {
    let known = match &setup.object_id {
        Some(id) => format!("Given: {id}. It has to be the oid of the application's tokens:"),
        None => "Not given yet. It is the oid of the application's tokens:".to_owned(),
    };
    let mut step = step(
        "The object id that Exchange wants",
        &[
            "Enterprise applications > the application > Object ID. NOT the one of App registrations:",
            "Exchange takes that one too, and refuses every login.",
        ],
    );
    step.lines.push(known);
    step.lines.push(format!(
        "postrider token {} shows it as soon as tokens come.",
        setup.credential.as_deref().unwrap_or("CREDENTIAL")
    ));
    step
}

fn script(setup: &Exchange) -> Step {
    let mailboxes = setup.mailboxes.len();
    let mut step = step(
        "This script, once, by an Exchange administrator",
        &[
            "Save it as setup.ps1. Install-Module ExchangeOnlineManagement -Scope CurrentUser; no Azure",
            "subscription is needed. It asks for a login, and may be run again at any time.",
            "Where Windows does not run scripts: Set-ExecutionPolicy -Scope Process RemoteSigned",
            "./setup.ps1 -Check   says what it would do, and changes nothing",
            "./setup.ps1          does it, for what is missing",
            "./setup.ps1 -Undo    takes the grants and the service principal back",
        ],
    );
    step.lines.push(format!(
        "Mailboxes: {mailboxes}. One application, one service principal and one token serve all of them."
    ));
    step
}

fn afterwards() -> Step {
    step(
        "Wait, then look",
        &[
            "IMAP that was switched on takes about half an hour to work everywhere, a grant minutes to an",
            "hour or more. postrider tries again by itself. Then: postrider doctor",
        ],
    )
}
