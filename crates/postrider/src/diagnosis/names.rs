//! The names that a fix is written with: this tenant's, this application's, this mailbox's. What is
//! not known stays a placeholder in angle brackets that says where to find it.

use super::facts::Facts;
use crate::config::Cloud;

pub(super) struct Names<'a>(pub(super) &'a Facts<'a>);

/// Text as PowerShell's single-quoted string, which expands nothing. PowerShell takes the
/// typographic quotes for the plain one, so they are doubled as well.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for char in text.chars().filter(|char| !char.is_control()) {
        if matches!(
            char,
            '\'' | '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}'
        ) {
            quoted.push(char);
        }
        quoted.push(char);
    }
    quoted.push('\'');
    quoted
}

impl Names<'_> {
    pub(super) fn client(&self) -> String {
        let claimed = self.0.claims.and_then(|claims| claims.appid.as_deref());
        match self.0.credential.client_id.as_deref().or(claimed) {
            Some(id) => quoted(id),
            None => "'<application (client) id>'".to_owned(),
        }
    }

    /// As a person reads it, without quotes.
    pub(super) fn application(&self) -> String {
        let client = self.client();
        client.trim_matches('\'').to_owned()
    }

    pub(super) fn tenant(&self) -> String {
        let claimed = self.0.claims.and_then(|claims| claims.tid.as_deref());
        self.0
            .credential
            .tenant
            .as_deref()
            .or(claimed)
            .unwrap_or("<tenant>")
            .to_owned()
    }

    /// The object id of the enterprise application, which an application's token tells as `oid`.
    pub(super) fn object_id(&self) -> String {
        let claimed = self.0.claims.and_then(|claims| claims.oid.as_deref());
        match claimed.filter(|_| self.0.credential.is_application()) {
            Some(oid) => quoted(oid),
            None => "'<Object ID of the enterprise application>'".to_owned(),
        }
    }

    pub(super) fn mailbox(&self) -> String {
        match self.0.mailbox {
            Some(mailbox) => quoted(&mailbox.username),
            None => "'<mailbox>'".to_owned(),
        }
    }

    pub(super) fn credential(&self) -> &str {
        &self.0.credential.key
    }

    /// Entra's admin center of the cloud.
    pub(super) fn portal(&self) -> &'static str {
        match self.0.credential.cloud {
            Cloud::Global => "https://entra.microsoft.com",
            Cloud::GccHigh | Cloud::Dod => "https://portal.azure.us",
            Cloud::China => "https://portal.azure.cn",
        }
    }

    pub(super) fn login_host(&self) -> &'static str {
        self.0.credential.cloud.authority()
    }

    /// The scope that the preset asks for.
    pub(super) fn scope(&self) -> &'static str {
        match self.0.credential.is_application() {
            true => self.0.credential.cloud.application_scope(),
            false => self.0.credential.cloud.delegated_scope(),
        }
    }

    pub(super) fn connect(&self) -> String {
        match self.0.credential.cloud {
            Cloud::Global => "Connect-ExchangeOnline",
            Cloud::GccHigh => "Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovGCCHigh",
            Cloud::Dod => "Connect-ExchangeOnline -ExchangeEnvironmentName O365USGovDoD",
            Cloud::China => "Connect-ExchangeOnline -ExchangeEnvironmentName O365China",
        }
        .to_owned()
    }

    /// A page of the application in the portal.
    pub(super) fn page(&self, page: &str) -> String {
        format!(
            "{}: App registrations > All applications > {} > {page}",
            self.portal(),
            self.application()
        )
    }

    pub(super) fn enterprise_page(&self, page: &str) -> String {
        format!(
            "{}: Enterprise applications > All applications > {} > {page}",
            self.portal(),
            self.application()
        )
    }

    /// Where an administrator grants consent in one step.
    pub(super) fn consent_url(&self) -> String {
        let tenant: String =
            url::form_urlencoded::byte_serialize(self.tenant().as_bytes()).collect();
        let client: String =
            url::form_urlencoded::byte_serialize(self.application().as_bytes()).collect();
        format!(
            "{}/{tenant}/adminconsent?client_id={client}",
            self.login_host()
        )
    }
}
