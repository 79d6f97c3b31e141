//! Where a cloud's portals and hosts are, beside what its tokens need.
//!
//! Sources: <https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud> for
//! portals, <https://learn.microsoft.com/microsoft-365/enterprise/urls-and-ip-address-ranges> for
//! mail hosts. China's list does not name IMAP; it was seen to work.

use crate::config::Cloud;

impl Cloud {
    /// Where applications are registered. Registrations do not cross clouds.
    pub fn portal(self) -> &'static str {
        match self {
            Self::Global => "https://entra.microsoft.com",
            Self::GccHigh | Self::Dod => "https://portal.azure.us",
            Self::China => "https://portal.azure.cn",
        }
    }

    /// `Connect-ExchangeOnline -ExchangeEnvironmentName`.
    pub fn exchange_environment(self) -> &'static str {
        match self {
            Self::Global => "O365Default",
            Self::GccHigh => "O365USGovGCCHigh",
            Self::Dod => "O365USGovDoD",
            Self::China => "O365China",
        }
    }

    pub fn mail_host(self) -> &'static str {
        match self {
            Self::Global => "outlook.office365.com",
            Self::GccHigh => "outlook.office365.us",
            Self::Dod => "outlook-dod.office365.us",
            Self::China => "partner.outlook.cn",
        }
    }

    pub fn login_host(self) -> &'static str {
        self.authority().trim_start_matches("https://")
    }

    /// As people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Global => "Microsoft 365, worldwide (GCC too)",
            Self::GccHigh => "Microsoft 365 GCC High",
            Self::Dod => "Microsoft 365 DoD",
            Self::China => "Microsoft 365 operated by 21Vianet",
        }
    }
}
