//! Shows and changes what is logged while the process runs.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State as Extract, rejection::JsonRejection},
    http::StatusCode,
    response::Response,
    routing::get,
};
use common_logging::{Levels, LogError, LogHandle};
use serde::{Deserialize, Serialize};

use super::answer;
use crate::Problem;

const LEVELS: [&str; 6] = ["OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
/// Bytes of a request's body: more than the longest filter.
const MAX_BODY: usize = 16 * 1024;

#[derive(Serialize)]
struct Loggers {
    levels: [&'static str; 6],
    loggers: BTreeMap<String, Logger>,
    groups: BTreeMap<String, Logger>,
    /// Levels by module, such as `info,chat_storage=debug`: what cannot be told by logger is here too.
    filter: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Logger {
    #[serde(skip_serializing_if = "Option::is_none")]
    configured_level: Option<String>,
    effective_level: String,
}

impl Logger {
    fn of(name: &str, levels: &Levels) -> Self {
        let text = |level: tracing::level_filters::LevelFilter| level.to_string().to_uppercase();
        Self { configured_level: levels.configured(name).map(text), effective_level: text(levels.effective(name)) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFilter {
    filter: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewLevel {
    /// Without it the logger takes the level of those around it.
    configured_level: Option<String>,
}

pub(super) fn router(logs: LogHandle) -> Router {
    Router::new()
        .route("/", get(all).post(set_filter))
        .route("/{name}", get(one).post(set_level))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(logs)
}

async fn all(Extract(logs): Extract<LogHandle>) -> Result<Response, Problem> {
    let (filter, levels) = (logs.filter()?, logs.levels()?);
    let names = levels.names().chain(logs.targets());
    let loggers = names.map(|name| (name.to_owned(), Logger::of(name, &levels))).collect();
    Ok(answer::ok(&Loggers { levels: LEVELS, loggers, groups: BTreeMap::new(), filter }))
}

async fn one(Extract(logs): Extract<LogHandle>, Path(name): Path<String>) -> Result<Response, Problem> {
    common_logging::check_name(&name)?;
    let levels = logs.levels()?;
    Ok(answer::ok(&Logger::of(&name, &levels)))
}

async fn set_filter(
    Extract(logs): Extract<LogHandle>,
    wanted: Result<Json<NewFilter>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Json(NewFilter { filter }) = wanted.map_err(|rejection| unreadable(&rejection))?;
    logs.set_filter(&filter)?;
    tracing::info!(log.filter = filter, "the log filter was changed");
    Ok(StatusCode::NO_CONTENT)
}

async fn set_level(
    Extract(logs): Extract<LogHandle>,
    Path(name): Path<String>,
    wanted: Result<Json<NewLevel>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Json(NewLevel { configured_level }) = wanted.map_err(|rejection| unreadable(&rejection))?;
    let level = match &configured_level {
        Some(level) if LEVELS.iter().any(|it| it.eq_ignore_ascii_case(level)) => level.parse().ok(),
        Some(_) => return Err(bad_level()),
        None => None,
    };
    logs.set_level(&name, level)?;
    tracing::info!(log.logger = name, log.level = configured_level, "the level of a logger was changed");
    Ok(StatusCode::NO_CONTENT)
}

fn bad_level() -> Problem {
    let detail = format!("allowed: null, {}", LEVELS.join(", "));
    Problem::new(StatusCode::BAD_REQUEST, "LOG_LEVEL_INVALID").detail(detail.clone()).error("/configuredLevel", detail)
}

fn unreadable(rejection: &JsonRejection) -> Problem {
    let status = match rejection {
        // JSON of another form is as bad as no JSON.
        JsonRejection::JsonDataError(_) => StatusCode::BAD_REQUEST,
        rejection => rejection.status(),
    };
    Problem::new(status, "INVALID_BODY").detail(rejection.body_text())
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        let (status, code) = match error {
            LogError::Filter(_) | LogError::TooLong => (StatusCode::BAD_REQUEST, "LOG_FILTER_INVALID"),
            LogError::Name => (StatusCode::BAD_REQUEST, "LOGGER_NAME_INVALID"),
            LogError::RootWithoutLevel => (StatusCode::BAD_REQUEST, "LOG_LEVEL_INVALID"),
            LogError::Installed(_) | LogError::Gone(_) => (StatusCode::SERVICE_UNAVAILABLE, "LOGS_UNAVAILABLE"),
        };
        Self::new(status, code).detail(error.to_string())
    }
}
