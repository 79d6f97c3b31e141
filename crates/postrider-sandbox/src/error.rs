//! What can go wrong when a part of the sandbox is set up or steered.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on a loopback port")]
    Listen(#[from] std::io::Error),
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot make or use a key")]
    Key,
    #[error("the token endpoint knows no client {client:?}")]
    UnknownClient { client: String },
    #[error("the token endpoint has no pending device code {user_code:?}")]
    UnknownUserCode { user_code: String },
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    #[error("no account {user:?} in the sandbox")]
    UnknownAccount { user: String },
    #[error("no folder {folder:?} in the account {user:?}")]
    UnknownFolder { user: String, folder: String },
    #[error("no message with UID {uid} in the folder {folder:?} of {user:?}")]
    UnknownMessage {
        user: String,
        folder: String,
        uid: u32,
    },
    #[error("the webhook secret is not \"whsec_\" and base64")]
    Secret,
}
