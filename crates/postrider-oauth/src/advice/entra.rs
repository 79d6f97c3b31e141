//! The numbers of Microsoft Entra
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>). Microsoft says that
//! they may change. Pages are those of the Entra admin center.

/// Each number stands in one row.
pub(super) const ADVICE: &[(&[u32], &str)] = &[
    (
        &[7_000_215],
        "give the secret's Value, not its Secret ID, and check that it is this application's (App registrations > the application > Certificates & secrets)",
    ),
    (
        &[7_000_222],
        "the client secret has expired: create a new one (App registrations > the application > Certificates & secrets) and put it first in client_secret",
    ),
    (
        &[7_000_218],
        "no secret or certificate arrived: configure client_secret or certificate; for a sign-in without a secret set App registrations > the application > Authentication > Allow public client flows to Yes",
    ),
    (
        &[700_025],
        "the application is a public client: remove client_secret, or register a web platform under App registrations > the application > Authentication",
    ),
    (
        &[700_016],
        "no such application in this tenant: check client_id (App registrations > the application > Overview) and tenant, and that consent was given there",
    ),
    (
        &[700_011, 70_001, 7_000_112],
        "the enterprise application is missing or disabled in this tenant: grant admin consent, or set Enterprise applications > the application > Properties > Enabled for users to sign-in to Yes",
    ),
    (
        &[90_002],
        "no such tenant: check its id or domain (Entra admin center > Overview), and that cloud or authority is the right cloud's",
    ),
    (
        &[90_038, 900_382, 900_432],
        "the tenant is in another national cloud: set cloud, or that cloud's authority and scope, and register the application in that cloud's portal",
    ),
    (
        &[700_027],
        "the assertion's signature is not accepted: upload this certificate (App registrations > the application > Certificates & secrets > Certificates; compare the thumbprint), and check this machine's clock",
    ),
    (
        &[700_024],
        "the assertion is outside its time: set this machine's clock",
    ),
    (
        &[50_027, 50_012, 700_030],
        "the assertion is not accepted: check tenant, client_id, the certificate (App registrations > the application > Certificates & secrets) and this machine's clock",
    ),
    (
        &[70_021, 700_211, 700_212, 700_213],
        "no federated credential matches: compare issuer, subject and audience letter by letter (App registrations > the application > Certificates & secrets > Federated credentials); a new one takes some minutes",
    ),
    (
        &[70_011, 28_002, 28_003],
        "the scope is not valid: for application access to Exchange Online it is https://outlook.office365.com/.default, for a sign-in https://outlook.office.com/IMAP.AccessAsUser.All offline_access",
    ),
    (
        &[1_002_012],
        "the scope must end in /.default: for Exchange Online it is https://outlook.office365.com/.default",
    ),
    (
        &[700_022, 700_023],
        "the scope must name exactly one resource: for Exchange Online https://outlook.office365.com/.default",
    ),
    (
        &[500_011, 650_057, 50_001],
        "the resource of the scope is unknown to this tenant or not among the application's permissions: add Office 365 Exchange Online (App registrations > the application > API permissions > APIs my organization uses); if it is not listed, the tenant has no Exchange Online or the scope is another cloud's",
    ),
    (
        &[65_001, 90_094, 650_056],
        "consent is missing: App registrations > the application > API permissions must list Office 365 Exchange Online, IMAP.AccessAsApp (Application) for application access or IMAP.AccessAsUser.All (Delegated) for a sign-in; then press Grant admin consent there",
    ),
    (
        &[65_004],
        "the person declined to consent: sign in again and accept, or let an administrator press Grant admin consent (App registrations > the application > API permissions)",
    ),
    (
        &[50_034, 51_004, 50_020],
        "the user is not in this tenant: check user name and tenant",
    ),
    (
        &[50_057],
        "the user is disabled: set Users > the user > Account status to enabled",
    ),
    (
        &[50_076, 50_079, 50_074, 50_072],
        "a second factor is needed: sign in again with `postrider login`; a machine without people needs application access (type = \"microsoft\") instead",
    ),
    (
        &[50_055],
        "the user's password has expired: set a new one and sign in again with `postrider login`, or use application access",
    ),
    (&[50_126], "wrong user name or password: sign in again"),
    (
        &[50_053],
        "the account is locked, or the address of this machine is blocked: look at Monitoring & health > Sign-in logs",
    ),
    (
        &[53_003, 53_000, 53_001, 53_002, 530_032, 530_035],
        "Conditional Access or security defaults block it: exclude the service principal or user, or allow this machine's address (Protection > Conditional Access > Policies; Monitoring & health > Sign-in logs names the policy)",
    ),
    (
        &[700_082, 70_008, 70_000],
        "the refresh token is not valid any more: sign in again with `postrider login`",
    ),
    (
        &[70_043],
        "the sign-in is too old for a Conditional Access policy (sign-in frequency): sign in again with `postrider login`, or exclude the user (Protection > Conditional Access > Policies)",
    ),
    (
        &[50_173],
        "the refresh token was revoked (password change or revoked sessions): sign in again with `postrider login`",
    ),
    (
        &[54_005],
        "the code was used before: start the sign-in again",
    ),
    (
        &[70_016],
        "nobody has finished the sign-in yet: type the code in at the address shown",
    ),
    (
        &[70_018],
        "the code is not known: start again with `postrider login`, and type the code as it is shown",
    ),
    (
        &[70_019],
        "the code was not typed in in time: start again with `postrider login`",
    ),
    (
        &[50_011],
        "the redirect URI is not registered: add http://localhost under App registrations > the application > Authentication > Mobile and desktop applications",
    ),
    (
        &[50_194, 9_001_023, 90_130],
        "this needs the tenant's own name: set tenant to its id or domain instead of common",
    ),
    (
        &[50_196],
        "too many equal requests: something else may use the same application in a loop",
    ),
];

pub(super) const TRANSIENT: &[u32] = &[90_055, 90_024, 90_033, 90_006, 90_012, 50_033, 50_000];

pub(super) const BUSY: &str =
    "nothing to do, the endpoint is busy; postrider tries again by itself";

pub(super) fn by_error(error: &str) -> &'static str {
    match error {
        "invalid_client" => {
            "check client_id, and the secret's or certificate's value and expiry (App registrations > the application > Certificates & secrets)"
        }
        "unauthorized_client" => {
            "check client_id and tenant, and that the application may use this grant (App registrations > the application > Authentication)"
        }
        "invalid_grant" | "interaction_required" | "login_required" => {
            "a person must sign in again: `postrider login`"
        }
        "consent_required" => {
            "consent is missing: press Grant admin consent (App registrations > the application > API permissions)"
        }
        "access_denied" | "authorization_declined" => {
            "the person or a policy declined: sign in again and consent"
        }
        "invalid_scope" => {
            "check scope: for Exchange Online it is https://outlook.office365.com/.default"
        }
        _ => "check tenant, client_id, scope and the secret",
    }
}

/// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling>
pub(super) fn by_error_of_identity_service(error: &str) -> &'static str {
    match error {
        "invalid_request" => {
            "no such identity on this machine: assign one (the machine's page in the Azure portal > Security > Identity), and name it with client_id, object_id or resource_id where there are several"
        }
        "invalid_resource" => {
            "check resource: for Exchange Online it is https://outlook.office365.com"
        }
        "unauthorized_client" | "access_denied" => {
            "the identity may not have this token: check the machine's page in the Azure portal > Security > Identity"
        }
        _ => "check resource, and client_id, object_id or resource_id of the identity",
    }
}
