//! All metrics as text, for a scraper.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::State as Extract,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::registry::Registry;

use super::{State, metrics::families};
use crate::Problem;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics, or the older form for who asks for that.
pub(super) async fn scrape(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    let text = match encode(state.metrics.clone()).await {
        Ok(text) => text,
        Err(problem) => return problem.into_response(),
    };
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if prefers_plain(&accept.collect::<Vec<_>>().join(",")) {
        return ([(header::CONTENT_TYPE, PLAIN)], plain(&text)).into_response();
    }
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

/// All metrics in OpenMetrics. With very many open sockets, to count them takes a while: not on a thread that others
/// wait for.
pub(super) async fn encode(metrics: Arc<Registry>) -> Result<String, Problem> {
    let encoding = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics).map(|()| text)
    });
    let error = match encoding.await {
        Ok(Ok(text)) => return Ok(text),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    tracing::error!(error.message = error, "the metrics cannot be encoded");
    Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR"))
}

/// The exposition format 0.0.4, in which a counter has its suffix in its name, and exemplars, units and an end are
/// unknown.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for family in families::read(text) {
        let (suffix, kind) = match family.kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            "unknown" => ("", "untyped"),
            kind => ("", kind),
        };
        let (name, help) = (family.name, family.help);
        // Writing to a string does not fail.
        let _ = write!(plain, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        for sample in &family.samples {
            plain.push_str(sample.line);
            plain.push('\n');
        }
    }
    plain
}

/// Whoever does not care gets OpenMetrics.
fn prefers_plain(accept: &str) -> bool {
    quality(accept, "text", "plain") > quality(accept, "application", "openmetrics-text")
}

/// How much a media type is wanted, in thousandths: the most exact range decides, and of several alike the best.
fn quality(accept: &str, kind: &str, subtype: &str) -> u16 {
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (of_kind, of_subtype) = parts.next()?.split_once('/')?;
        let exactness = match (of_kind, of_subtype) {
            ("*", "*") => 0,
            (of_kind, "*") if of_kind.eq_ignore_ascii_case(kind) => 1,
            (a, b) if a.eq_ignore_ascii_case(kind) && b.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1000), thousandths);
        Some((exactness, quality?))
    });
    ranges.max().map_or(0, |(_, quality)| quality)
}

/// A quality is `0` or `1`, with up to three digits behind the point.
fn thousandths(quality: &str) -> Option<u16> {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    if fraction.len() > 3 {
        return None;
    }
    let whole: u16 = whole.parse().ok()?;
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    Some((whole.min(1) * 1000 + fraction).min(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_what_it_likes_best() {
        let newer = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in ["", "*/*", "application/json", newer, "text/plain;q=0.5,application/*", "text/plain;q=loud"] {
            assert!(!prefers_plain(accept), "{accept}");
        }
        let older = "text/plain;version=0.0.4;q=1,*/*;q=0.1";
        for accept in
            ["text/plain", "TEXT/Plain; version=0.0.4", older, "text/*", "application/openmetrics-text;q=0,*/*"]
        {
            assert!(prefers_plain(accept), "{accept}");
        }
    }

    #[test]
    fn the_older_form_has_what_it_knows_only() {
        let text = "# HELP hits Hits.\n# TYPE hits counter\n\
                    hits_total{path=\"/a # {b}\"} 7 # {trace_id=\"x\"} 1 1.5\n\
                    # HELP took_seconds Time.\n# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n\
                    took_seconds_sum 1.5\ntook_seconds_count 2\ntook_seconds_bucket{le=\"+Inf\"} 2 # {id=\"y\"} 3\n\
                    # HELP about About.\n# TYPE about info\nabout_info{v=\"1\"} 1\n\
                    # HELP odd Odd.\n# TYPE odd unknown\nodd 1\n# EOF\n";
        insta::assert_snapshot!(plain(text), @r#"
        # HELP hits_total Hits.
        # TYPE hits_total counter
        hits_total{path="/a # {b}"} 7
        # HELP took_seconds Time.
        # TYPE took_seconds histogram
        took_seconds_sum 1.5
        took_seconds_count 2
        took_seconds_bucket{le="+Inf"} 2
        # HELP about_info About.
        # TYPE about_info gauge
        about_info{v="1"} 1
        # HELP odd Odd.
        # TYPE odd untyped
        odd 1
        "#);
    }
}
