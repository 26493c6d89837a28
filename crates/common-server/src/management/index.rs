//! Links to everything there is.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State as Extract,
    http::{HeaderMap, header},
    response::Response,
};
use serde_json::json;

use super::{State, answer};

pub(super) async fn show(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let base = host.map_or_else(|| "/actuator".to_owned(), |host| format!("http://{host}/actuator"));
    let link = |href: String, templated: bool| json!({"href": href, "templated": templated});

    let mut links = BTreeMap::from([("self", link(base.clone(), false))]);
    links.extend(state.links.iter().map(|(name, path)| (*name, link(format!("{base}/{path}"), path.contains('{')))));
    answer::ok(&json!({"_links": links}))
}
