//! Where requests come in: from clients, and from other daemons.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use lote_model::id::FileServerUid;
use lote_model::path::ChildPath;
use serde::Deserialize;
use serde_json::Value;

use super::asked::{Asked, What};
use super::listing::Listed;
use super::place;
use crate::audit::File;
use crate::error::{Answer, ApiError};
use crate::leftover;
use crate::page::page;
use crate::peers::{self, Errand};
use crate::request::{AtFileServer, Caller, Parameters, Segments};
use crate::state::ApiState;

/// The name of an upload in a path.
#[derive(Debug, Deserialize)]
pub(crate) struct UploadSegment {
    upload: String,
}

/// What is asked for in a path between daemons.
#[derive(Debug, Deserialize)]
pub(crate) struct WhatSegment {
    what: String,
}

/// `…/files`: what is in a directory, and removal.
pub(crate) async fn files(
    State(state): State<ApiState>,
    caller: Caller,
    AtFileServer(path): AtFileServer,
    parameters: Parameters,
    request: Request,
) -> Response {
    let lists = [Method::GET, Method::HEAD].contains(request.method());
    let mut asked = asked(What::Files, parameters.clone(), request);
    if lists {
        // For HEAD as well the whole answer is made, and then cut off.
        asked.method = Method::GET;
    }
    let about = asked.path();
    let answered = match answered(&state, path, asked).await {
        Ok(answer) if lists => listed(&caller, &parameters, answer).await,
        answered => answered,
    };
    noted(about, answered)
}

/// `…/content`: the bytes of a file.
pub(crate) async fn content(
    State(state): State<ApiState>,
    AtFileServer(path): AtFileServer,
    parameters: Parameters,
    request: Request,
) -> Response {
    enter(&state, path, asked(What::Content, parameters, request)).await
}

/// `…/directories`.
pub(crate) async fn directories(
    State(state): State<ApiState>,
    AtFileServer(path): AtFileServer,
    parameters: Parameters,
    request: Request,
) -> Response {
    enter(&state, path, asked(What::Directories, parameters, request)).await
}

/// `…/links`.
pub(crate) async fn links(
    State(state): State<ApiState>,
    AtFileServer(path): AtFileServer,
    parameters: Parameters,
    request: Request,
) -> Response {
    enter(&state, path, asked(What::Links, parameters, request)).await
}

/// `…/uploads/{upload}`.
pub(crate) async fn upload(
    State(state): State<ApiState>,
    AtFileServer(path): AtFileServer,
    Segments(UploadSegment { upload }): Segments<UploadSegment>,
    parameters: Parameters,
    request: Request,
) -> Response {
    match What::upload(&upload) {
        Ok(what) => enter(&state, path, asked(what, parameters, request)).await,
        Err(error) => error.into_response(),
    }
}

/// From another daemon, but for uploads.
pub(crate) async fn peer(
    State(state): State<ApiState>,
    Segments(WhatSegment { what }): Segments<WhatSegment>,
    parameters: Parameters,
    request: Request,
) -> Answer {
    let what = match what.as_str() {
        "files" => What::Files,
        "content" => What::Content,
        "directories" => What::Directories,
        "links" => What::Links,
        _ => {
            return Err(ApiError::bad_request(
                "InvalidUri",
                "there is nothing of that name",
            ));
        }
    };
    here(&state, asked(what, parameters, request)).await
}

/// An upload, from another daemon.
pub(crate) async fn peer_upload(
    State(state): State<ApiState>,
    Segments(UploadSegment { upload }): Segments<UploadSegment>,
    parameters: Parameters,
    request: Request,
) -> Answer {
    here(&state, asked(What::upload(&upload)?, parameters, request)).await
}

/// On this node or not at all, so that no request goes around.
async fn here(state: &ApiState, asked: Asked) -> Answer {
    let uid = FileServerUid::new(asked.parameters.get("uid").unwrap_or_default());
    if [Method::GET, Method::HEAD].contains(&asked.method) {
        let exported = place::exported(state, &uid).await?;
        return asked.carry_out(exported).await;
    }
    // Read to its end whatever becomes of it, or the answer would not get through.
    let (body, leftover) = leftover::lend(asked.body);
    let asked = Asked { body, ..asked };
    let answered = match place::exported(state, &uid).await {
        Ok(exported) => asked.carry_out(exported).await,
        Err(error) => {
            drop(asked);
            Err(error)
        }
    };
    leftover.drain().await;
    answered
}

fn asked(what: What, parameters: Parameters, request: Request) -> Asked {
    let (parts, body) = request.into_parts();
    Asked {
        what,
        method: parts.method,
        parameters,
        headers: parts.headers,
        body,
    }
}

async fn enter(state: &ApiState, path: ChildPath, asked: Asked) -> Response {
    let about = asked.path();
    noted(about, answered(state, path, asked).await)
}

/// The answer, with the file that it is about for the audit log.
fn noted<T: ToString>(about: Result<T, ApiError>, answered: Answer) -> Response {
    let mut response = answered.into_response();
    if let Ok(path) = about {
        response.extensions_mut().insert(File(path.to_string()));
    }
    response
}

async fn answered(state: &ApiState, path: ChildPath, asked: Asked) -> Answer {
    asked.path()?;
    let server = place::server(state, path).await?;
    if server.node == state.config.node {
        let exported = place::exported(state, &server.uid).await?;
        return asked.carry_out(exported).await;
    }
    let pairs = asked.parameters.0.iter();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
    let errand = Errand::server_file(
        &server.path,
        &server.uid,
        &asked.what.segments(),
        asked.method.clone(),
        pairs.filter(|(name, _)| !name.eq_ignore_ascii_case("uid")),
        &asked.headers,
    );
    let reads = [Method::GET, Method::HEAD].contains(&asked.method);
    let body = if reads { Body::empty() } else { asked.body };
    let answer = peers::ask_with(state, &server.node, errand, body).await?;
    // What it says of the length is in its head.
    if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE || asked.method == Method::HEAD {
        return Ok(answer);
    }
    peers::passed_on(&server.node, answer).await
}

/// A page of a directory as clients get it.
async fn listed(caller: &Caller, parameters: &Parameters, answer: Response) -> Answer {
    let body = answer.into_body().collect().await;
    let bytes = body.map_err(|error| ApiError::internal(&error))?.to_bytes();
    let listed: Listed =
        serde_json::from_slice(&bytes).map_err(|error| ApiError::internal(&error))?;
    let values = listed.value.iter().map(serde_json::to_value);
    let values: Vec<Value> = values
        .collect::<Result<_, _>>()
        .map_err(|error| ApiError::internal(&error))?;
    Ok(page(caller, parameters, values, listed.last.as_deref()))
}
