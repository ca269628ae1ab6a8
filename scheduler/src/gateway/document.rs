//! The OpenAPI document of the gateway.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa::openapi;

use super::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Marionette",
        description = "Functions in chains over replicated, versioned storage: the gateway of a scheduler. Errors are problem details (RFC 9457). Records whose ids begin with `_marionette/` are Marionette's own."
    ),
    components(schemas(Problem)),
    tags(
        (name = "runs", description = "Applications, executed"),
        (name = "records", description = "Replicated, versioned storage"),
        (name = "cluster", description = "Who is there, and how it fares")
    )
)]
struct Document;

/// What the document says before the operations.
pub fn introduction() -> openapi::OpenApi {
    Document::openapi()
}

/// The document as it is served.
pub fn text(document: &openapi::OpenApi) -> impl IntoResponse + Clone + use<> {
    let text = document.to_json().unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], text)
}
