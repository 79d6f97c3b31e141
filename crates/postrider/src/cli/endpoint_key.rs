//! `endpoints key`: the public halves of an endpoint's Ed25519 secrets. The secrets are read for it and
//! never shown.

use std::path::Path;

use postrider_core::ids::EndpointKey;
use postrider_webhook::sign::Signer;
use serde_json::json;

use super::{
    direct,
    failure::{Exit, Failure},
    output::{print, print_json},
};
use crate::config::{Environment, nearest};

pub(crate) fn key(file: &Path, name: &str, json: bool) -> Result<(), Failure> {
    let config = direct::load(file, json)?;
    let Some(endpoint) = config.endpoints.get(&EndpointKey::from(name)) else {
        let names = config.endpoints.keys().map(EndpointKey::as_str);
        let failure = Failure::new(Exit::Failed, format!("there is no endpoint `{name}`"));
        return Err(match nearest(name, names) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("the configuration names them as [endpoints.NAME]"),
        });
    };
    let environment = Environment::of_process();
    let failed = |error: String| Failure::new(Exit::Failed, error);
    let secrets = endpoint
        .secret
        .iter()
        .map(|reference| reference.read(&environment))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(error.to_string()))?;
    let signer = Signer::new(&secrets).map_err(|error| failed(error.to_string()))?;
    let keys = signer.public_keys();
    if keys.is_empty() {
        let failure = failed(format!("the endpoint `{name}` has no Ed25519 secret"));
        return Err(failure.hint(
            "its secrets are shared with the receiver; an Ed25519 secret key begins with whsk_",
        ));
    }
    match json {
        true => print_json(&json!({ "endpoint": name, "public_keys": keys })),
        false => print(&format!("{}\n", keys.join("\n"))),
    }
}
