//! The configuration of a private Dovecot 2.3: everything under one directory, every way to log in,
//! and files that change who may while it runs.

use std::{fmt::Write as _, path::Path};

/// Tokens that may be good for every mailbox at the same time.
pub(crate) const TOKEN_SLOTS: usize = 4;

/// Connections per process of the services that serve many.
pub(crate) const CLIENT_LIMIT: usize = 20_000;

/// What the tokens for single users say and are checked against.
pub(crate) const ISSUER: &str = "https://issuer.postrider.test";
pub(crate) const AUDIENCE: &str = "postrider";

pub(crate) struct Ports {
    pub(crate) imaps: u16,
    pub(crate) imap: u16,
}

/// The users that the server's processes run as.
pub(crate) struct Users {
    /// Internal processes, and those before a login.
    pub(crate) internal: String,
    pub(crate) login: String,
    /// Whom the mail belongs to.
    pub(crate) mail: String,
    pub(crate) mail_group: String,
    pub(crate) internal_group: String,
}

pub(crate) fn main_file(directory: &Path, ports: &Ports, users: &Users, hibernate: bool) -> String {
    let dir = directory.display();
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "protocols = imap lmtp
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/dovecot.log
instance_name = postrider-test
listen = 127.0.0.1
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:{dir}/mail/%u
mail_max_userip_connections = 20000
default_vsz_limit = 2G
default_process_limit = 6000
default_client_limit = {CLIENT_LIMIT}
recipient_delimiter = +
lmtp_save_to_detail_mailbox = yes
ssl = required
ssl_cert = <{dir}/cert.pem
ssl_key = <{dir}/key.pem
auth_mechanisms = plain login xoauth2 oauthbearer
auth_failure_delay = 0
auth_verbose = yes
auth_username_format = %Lu
",
        internal = users.internal,
        internal_group = users.internal_group,
        login = users.login,
    );
    logins(&mut text, directory, users);
    services(&mut text, ports, users, hibernate);
    text
}

fn logins(text: &mut String, directory: &Path, users: &Users) {
    let dir = directory.display();
    let _ = write!(
        text,
        "passdb {{
  driver = passwd-file
  deny = yes
  args = {dir}/refused
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = scheme=PLAIN {dir}/passwords
}}
"
    );
    // A passwd-file has one password per name, so each slot is a name of its own.
    for slot in 0..TOKEN_SLOTS {
        let _ = write!(
            text,
            "passdb {{
  driver = passwd-file
  mechanisms = xoauth2 oauthbearer
  args = scheme=PLAIN username_format=slot{slot} {dir}/tokens
}}
"
        );
    }
    let _ = write!(
        text,
        "passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {dir}/oauth2.conf
}}
userdb {{
  driver = static
  args = uid={mail} gid={mail_group} home={dir}/home/%u allow_all_users=yes
}}
",
        mail = users.mail,
        mail_group = users.mail_group,
    );
}

fn services(text: &mut String, ports: &Ports, users: &Users, hibernate: bool) {
    let _ = write!(
        text,
        "service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 1
}}
service imap {{
  process_limit = 6000
  service_count = 1000
  process_min_avail = 2
  extra_groups = $default_internal_group
  unix_listener imap-master {{
    user = {internal}
  }}
}}
service imap-hibernate {{
  unix_listener imap-hibernate {{
    mode = 0660
    group = $default_internal_group
  }}
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
",
        imap = ports.imap,
        imaps = ports.imaps,
        internal = users.internal,
    );
    if hibernate {
        text.push_str("imap_hibernate_timeout = 3s\n");
    }
}

pub(crate) fn oauth2_file(directory: &Path) -> String {
    format!(
        "introspection_mode = local
local_validation_key_dict = fs:posix:prefix={}/keys/
issuers = {ISSUER}
username_attribute = email
username_format = %Lu
client_id = {AUDIENCE}
scope = mail
",
        directory.display()
    )
}
