//! The grammar of `setup`.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Setup {
    /// Exchange Online for an application: portal steps and one PowerShell script, in one file
    Exchange(Box<SetupExchange>),
}

#[derive(Debug, Args)]
pub(crate) struct SetupExchange {
    /// The tenant's id or one of its domains [default: the credential's]
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// The application (client) id [default: the credential's]
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// The object id of the enterprise application, which is the `oid` of its tokens
    #[arg(long, value_name = "OID")]
    pub(crate) object_id: Option<String>,
    /// Addresses, separated by commas [default: all mailboxes that use the credential]
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub(crate) mailboxes: Vec<String>,
    /// The credential in the configuration [default: the only one that can be meant]
    #[arg(long, value_name = "NAME")]
    pub(crate) credential: Option<String>,
    /// The Microsoft cloud [default: the credential's, else global]
    #[arg(long, value_enum)]
    pub(crate) cloud: Option<SetupCloud>,
    /// Touch only mailboxes without a grant, and leave the others wholly alone
    #[arg(long)]
    pub(crate) only_missing: bool,
    /// Revoke grants to mailboxes that are not among these; looks at every mailbox of the tenant
    #[arg(long)]
    pub(crate) for_removed: bool,
    /// POP3 too: its permission, and switched on
    #[arg(long)]
    pub(crate) pop: bool,
    /// Whether Exchange may answer read-receipt requests when a message is downloaded
    #[arg(long, value_enum, default_value_t = SetupReceipts::Suppress)]
    pub(crate) read_receipts: SetupReceipts,
    /// Print hosts and ports for a security team instead, as Markdown
    #[arg(long)]
    pub(crate) firewall: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SetupCloud {
    /// Worldwide, and GCC
    Global,
    GccHigh,
    Dod,
    /// Operated by 21Vianet
    China,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SetupReceipts {
    Keep,
    Suppress,
}
