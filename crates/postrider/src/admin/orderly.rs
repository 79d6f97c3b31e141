//! What holds for every request, whatever it asks: an order is carried out to its end, also where
//! whoever gave it hangs up; and whatever is refused, by whomever, is told as [`api::Failure`].

use axum::{
    body::to_bytes,
    extract::Request,
    http::{Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::server::Refusal;

/// What the router and its extractors say is a line.
const TOLD_MAX: usize = 4096;

/// Half an order is nobody's wish: a client that waits no longer changes nothing.
pub(super) async fn to_its_end(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    tokio::spawn(next.run(request))
        .await
        .unwrap_or_else(|ended| {
            let error = format!("the order ended early: {ended}");
            let hint =
                "`postrider admin audit` tells what of it was carried out, the log why it ended";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error, hint).into_response()
        })
}

/// Refusals that are not ours: no such path, another method, a body that is not understood.
pub(super) async fn told_alike(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, TOLD_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let (error, hint) = match (status, text.trim()) {
        (StatusCode::NOT_FOUND, "") => (
            "there is no such path",
            "GET /v1/openapi.json tells all of them",
        ),
        (StatusCode::METHOD_NOT_ALLOWED, "") => (
            "this path takes another method",
            "GET /v1/openapi.json tells which",
        ),
        (_, "") => ("the request is refused", ""),
        (_, told) => (told, "GET /v1/openapi.json tells what is understood"),
    };
    // 422 is for a configuration that is refused.
    let status = match status {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    let mut told = Refusal::new(status, error, hint).into_response();
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        told.headers_mut().insert(header::ALLOW, allow.clone());
    }
    told
}
