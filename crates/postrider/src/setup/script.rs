//! The script for Exchange: the steps as comments, the values, and a body that is the same for
//! everybody. The values stand at the top, so that whoever has to run it can read what it is about.

use std::fmt::Write as _;

use super::{Exchange, Protocols, Reach, ReadReceipts, Removed, steps::steps, value::quoted};

const BODY: &str = include_str!("exchange.ps1");

const CHECKS: &str = "
# ---- to look at it by hand
#
# Get-ServicePrincipal | Format-List DisplayName, AppId, ObjectId
# Get-MailboxPermission -Identity MAILBOX | Format-Table User, AccessRights, Deny
# Get-CASMailbox -Identity MAILBOX | Format-List Imap*, Pop*
# In the portal: Sign-in logs > Service principal sign-ins.
#
# ---- to undo it
#
# ./setup.ps1 -Undo takes the grants of the mailboxes above and the service principal back. The
# protocols stay on and read receipts stay suppressed, since others may count on it by now. Where
# nobody does:
# Set-CASMailbox -Identity MAILBOX -ImapEnabled $false
# Set-CASMailbox -Identity MAILBOX -ImapSuppressReadReceipt $false -ImapUseProtocolDefaults $true
# The application itself is deleted in the portal: App registrations > the application > Delete.
";

/// One file that can be saved and run as it is. ASCII, without a byte of anybody's choice outside
/// of quotes.
pub fn script(setup: &Exchange) -> String {
    let mut text = String::from(
        "# Exchange Online for postrider: steps and script in one file. Made by `postrider setup exchange`.\n#\n",
    );
    for (number, step) in steps(setup).iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# {}. {}", number + 1, step.title);
        for line in &step.lines {
            let _ = writeln!(text, "#    {line}");
        }
    }
    if setup.cloud.is_unverified() {
        text += "#\n# NOT VERIFIED: no document and no report confirms application access over IMAP in this cloud.\n";
    }
    text += "\n[CmdletBinding()]\nparam([switch] $Check, [switch] $Undo)\n\n";
    text += &values(setup);
    text.push('\n');
    text += BODY;
    text += CHECKS;
    text
}

fn values(setup: &Exchange) -> String {
    let id = |id: Option<&str>| quoted(id.unwrap_or_default());
    let flag = |set: bool| if set { "$true" } else { "$false" };
    let protocols = match setup.protocols {
        Protocols::Imap => "@('Imap')",
        Protocols::ImapAndPop => "@('Imap', 'Pop')",
    };
    let mut text = String::new();
    let lines = [
        ("Environment", quoted(setup.cloud.exchange_environment())),
        ("Tenant", quoted(setup.tenant.as_str())),
        ("AppId", id(setup.client_id.as_ref().map(|id| id.as_str()))),
        (
            "ObjectId",
            id(setup.object_id.as_ref().map(|id| id.as_str())),
        ),
        ("DisplayName", quoted("postrider")),
        ("Protocols", protocols.to_owned()),
        (
            "SuppressReadReceipts",
            flag(setup.read_receipts == ReadReceipts::Suppress).to_owned(),
        ),
        (
            "OnlyMissing",
            flag(setup.reach == Reach::OnlyMissing).to_owned(),
        ),
        (
            "ForRemoved",
            flag(setup.removed == Removed::Revoke).to_owned(),
        ),
    ];
    for (name, value) in lines {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "${name} = {value}");
    }
    text += "$Mailboxes = @(\n";
    for mailbox in &setup.mailboxes {
        let _ = writeln!(text, "    {}", quoted(mailbox.as_str()));
    }
    text += ")\n";
    text
}
