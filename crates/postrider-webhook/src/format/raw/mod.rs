//! The message itself (RFC 5322), in the request that one product takes. A profile knows the shape
//! of the request and what the product's answers mean. It never changes a byte of the message.

mod action_mailbox;
mod discourse;
mod gitlab;
mod odoo;
mod osticket;
mod redmine;
mod rt;

use std::collections::BTreeMap;

use postrider_core::delivery::{
    Class,
    classify::{Classifier, Rule, Statuses, Text},
};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{RenderError, Rendered, Source};
use crate::body::{Body, RawMessage};

/// What a product says, the end of a traceback of Odoo's too.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A product, and what it wants to be told beside the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    Osticket,
    Rt {
        queue: Option<String>,
        action: String,
    },
    Redmine {
        project: Option<String>,
        fields: BTreeMap<String, String>,
    },
    ActionMailbox {
        user: String,
    },
    Gitlab {
        mailbox_type: String,
    },
    Discourse {
        user: String,
    },
    Odoo {
        database: String,
        user: u32,
        model: Option<String>,
    },
}

impl Profile {
    /// Where the product takes mail, below its base URL.
    pub fn path(&self) -> String {
        match self {
            Self::Osticket => osticket::PATH.to_owned(),
            Self::Rt { .. } => rt::PATH.to_owned(),
            Self::Redmine { .. } => redmine::PATH.to_owned(),
            Self::ActionMailbox { .. } => action_mailbox::PATH.to_owned(),
            Self::Gitlab { mailbox_type } => format!("{}/{mailbox_type}", gitlab::PATH),
            Self::Discourse { .. } => discourse::PATH.to_owned(),
            Self::Odoo { .. } => odoo::PATH.to_owned(),
        }
    }

    /// The URL that is posted to: the product's base URL (`https://desk.example.org/support`) and
    /// its path, unless that stands there already.
    pub fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        let path = self.path();
        let written = base.path().trim_end_matches('/');
        if !written.ends_with(&path) {
            url.set_path(&format!("{written}{path}"));
        }
        url
    }

    /// Whether the product asks for a key, a password or a token.
    pub fn needs_key(&self) -> bool {
        match self {
            Self::Rt { .. } => false,
            Self::Osticket
            | Self::Redmine { .. }
            | Self::ActionMailbox { .. }
            | Self::Gitlab { .. }
            | Self::Discourse { .. }
            | Self::Odoo { .. } => true,
        }
    }

    pub fn classifier(&self) -> Classifier {
        let rules = match self {
            Self::Osticket => osticket::answers(),
            Self::Rt { .. } => rt::answers(),
            Self::Redmine { .. } => redmine::answers(),
            Self::ActionMailbox { .. } => action_mailbox::answers(),
            Self::Gitlab { .. } => gitlab::answers(),
            Self::Discourse { .. } => discourse::answers(),
            Self::Odoo { .. } => odoo::answers(),
        };
        Classifier { rules }
    }
}

/// A product at its place, with the key to it.
#[derive(Clone, Debug)]
pub struct Raw {
    profile: Profile,
    url: Url,
    key: Key,
}

impl Raw {
    /// The error says what is wrong with the key.
    pub fn new(profile: Profile, base: &Url, key: Option<&SecretString>) -> Result<Self, String> {
        let key = match (key, profile.needs_key()) {
            (Some(key), _) => Key(Some(key.clone())),
            (None, false) => Key(None),
            (None, true) => return Err("there is no key for the product".to_owned()),
        };
        match &profile {
            Profile::Osticket | Profile::Discourse { .. } => drop(key.header()?),
            Profile::Gitlab { .. } => drop(gitlab::secret(&key)?),
            Profile::Rt { .. }
            | Profile::Redmine { .. }
            | Profile::ActionMailbox { .. }
            | Profile::Odoo { .. } => {}
        }
        Ok(Self {
            url: profile.url(base),
            profile,
            key,
        })
    }

    pub fn classifier(&self) -> Classifier {
        self.profile.classifier()
    }

    pub fn request(&self, source: &Source<'_>) -> Result<Rendered, RenderError> {
        let message = source.raw.ok_or_else(|| source.no_message())?;
        let key = &self.key;
        let (headers, body) = match &self.profile {
            Profile::Osticket => osticket::request(message, key),
            Profile::Rt { queue, action } => rt::request(source, message, queue.as_deref(), action),
            Profile::Redmine { project, fields } => {
                redmine::request(source, message, key, project.as_deref(), fields)
            }
            Profile::ActionMailbox { user } => action_mailbox::request(message, user, key),
            Profile::Gitlab { .. } => gitlab::request(source, message, key),
            Profile::Discourse { user } => discourse::request(source, message, user, key),
            Profile::Odoo {
                database,
                user,
                model,
            } => odoo::request(message, key, database, *user, model.as_deref()),
        }?;
        Ok(Rendered {
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body,
        })
    }
}

type Shape = Result<(HeaderMap, Body), RenderError>;

/// The product's key; it shows nothing of itself.
#[derive(Clone, Debug)]
struct Key(Option<SecretString>);

impl Key {
    fn text(&self) -> &str {
        self.0.as_ref().map_or("", |key| key.expose_secret().trim())
    }

    fn header(&self) -> Result<HeaderValue, String> {
        sensitive(self.text())
    }
}

/// A header's value that no log shows.
fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| "the key has characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn headers(list: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> HeaderMap {
    list.into_iter().collect()
}

/// The message alone is the body.
fn whole(message: &RawMessage, kind: &'static str) -> (HeaderMap, Body) {
    let body = Body {
        pieces: vec![crate::body::Piece::whole(
            message,
            crate::body::Encoding::AsIs,
        )],
    };
    let kind = (CONTENT_TYPE, HeaderValue::from_static(kind));
    (headers([kind]), body)
}

fn rule(statuses: &[(u16, u16)], body: Text, class: Class) -> Rule {
    Rule {
        statuses: Statuses::Ranges(statuses.to_vec()),
        body,
        class,
    }
}

/// A success that is not the one that the product is known for comes from something else at its
/// place (a login page, a proxy), and means that nothing was taken.
fn other_success() -> Rule {
    rule(&[(200, 299)], Text::Any, Class::Trouble)
}
