//! One request from its arrival to its answer: the book, the trouble, the provider's desk, and the
//! words on the wire.

use std::{sync::Mutex, time::Instant};

use serde_json::Value;

use super::{
    aadsts::Names,
    ask::{Ask, Route},
    entra, generic, google, imds,
    refusal::Refusal,
    state::{Answer, State},
    tally::Asked,
    trouble::{Meeting, Sent, TokenTrouble},
};
use crate::{
    authority::TokenAuthority,
    http::{Reply, Request, Service, response},
    sync::lock,
};

pub(super) struct Office {
    pub(super) authority: TokenAuthority,
    pub(super) state: Mutex<State>,
}

impl Service for Office {
    async fn answer(&self, request: Request) -> Reply {
        let ask = Ask::read(request);
        let (app, client_id) = lock(&self.state).asking(&ask);
        let visitor = Visitor::enter(self, &ask, client_id);
        let trouble = lock(&self.state).take_trouble(app);
        if let TokenTrouble::Slow(time) = &trouble {
            tokio::time::sleep(*time).await;
        }
        let reply = self.reply(&ask, app, &trouble);
        visitor.leave(reply)
    }
}

/// Writes a request into the book, however its answering ends.
struct Visitor<'a> {
    office: &'a Office,
    asked: Asked,
}

impl<'a> Visitor<'a> {
    fn enter(office: &'a Office, ask: &Ask, client_id: String) -> Self {
        lock(&office.state).book.begin();
        let jwt = ask.bearer_assertion();
        let asked = Asked {
            at: Instant::now(),
            client_id,
            kind: ask.kind(),
            subject: jwt.and_then(|jwt| jwt.claim("sub").map(str::to_owned)),
            status: None,
        };
        Self { office, asked }
    }

    fn leave(mut self, reply: Reply) -> Reply {
        self.asked.status = match &reply {
            Reply::Answer(response) => Some(response.status().as_u16()),
            Reply::HangUp => None,
        };
        reply
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        let asked = self.asked.clone();
        lock(&self.office.state).book.end(asked);
    }
}

impl Office {
    fn reply(&self, ask: &Ask, app: Option<usize>, trouble: &TokenTrouble) -> Reply {
        let mut state = lock(&self.state);
        let (answered, sent) = match trouble.meets(ask) {
            Meeting::Unheard(reply) => {
                state.book.counters.troubled += 1;
                return reply;
            }
            Meeting::Refused(refusal) => (Err(refusal), Sent::Whole),
            Meeting::Carried(sent) => (self.carry_out(&mut state, ask), sent),
        };
        match sent {
            Sent::Whole => state.book.counters.refused += u64::from(answered.is_err()),
            Sent::Half | Sent::Nothing => state.book.counters.troubled += 1,
        }
        write(&state, ask, app, answered, sent)
    }

    fn carry_out(&self, state: &mut State, ask: &Ask) -> Result<Answer, Refusal> {
        let authority = &self.authority;
        match &ask.route {
            Route::Entra { tenant, desk } => entra::answer(state, authority, ask, tenant, *desk),
            Route::Imds => imds::answer(state, authority, ask),
            Route::Google(desk) => google::answer(state, authority, ask, *desk),
            Route::Generic(desk) => generic::answer(state, authority, ask, *desk),
            Route::Nowhere => Err(Refusal::NotThere),
        }
    }
}

/// A body that is no JSON is a web page.
type Body = Result<Value, String>;

fn write(
    state: &State,
    ask: &Ask,
    app: Option<usize>,
    answered: Result<Answer, Refusal>,
    sent: Sent,
) -> Reply {
    let mut headers = vec![("cache-control", "no-store".to_owned())];
    let (status, body): (u16, Body) = match answered {
        Ok(Answer::Json(body)) => (200, Ok(body)),
        Ok(Answer::Redirect(to)) => {
            headers.push(("location", to));
            (302, Err(String::new()))
        }
        Err(refusal) => refusal.answer(ask, &names(state, ask, app)),
    };
    if status == 401 && ask.basic.is_some() {
        headers.push(("www-authenticate", "Basic realm=\"sandbox\"".to_owned()));
    }
    let (kind, text) = match body {
        Ok(json) => ("application/json; charset=utf-8", json.to_string()),
        Err(page) => ("text/html; charset=utf-8", page),
    };
    headers.push(("content-type", kind.to_owned()));
    let headers: Vec<(String, String)> = headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let half = text.len() / 2;
    match sent {
        Sent::Whole => Reply::Answer(response(status, &headers, text)),
        Sent::Half => Reply::Answer(response(status, &headers, text.as_bytes()[..half].to_vec())),
        Sent::Nothing => Reply::HangUp,
    }
}

/// What a refusal's text is filled with.
fn names<'a>(state: &'a State, ask: &'a Ask, app: Option<usize>) -> Names<'a> {
    let config = app.and_then(|app| Some(&state.apps.get(app)?.config));
    let tenant = match &ask.route {
        Route::Entra { tenant, .. } => tenant,
        Route::Imds | Route::Google(_) | Route::Generic(_) | Route::Nowhere => "",
    };
    let resource = ask.form.get("scope").or_else(|| ask.form.get("resource"));
    Names {
        app: config.map_or_else(
            || ask.client_id().unwrap_or_default(),
            |config| config.client_id.as_str(),
        ),
        tenant,
        resource: resource.unwrap_or("https://outlook.office365.com"),
        user: config
            .and_then(|config| config.delegated.browser.as_deref())
            .unwrap_or("ann@contoso.com"),
    }
}
