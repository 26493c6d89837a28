//! Metrics for people: one at a time, narrowed down by tags.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    extract::{OriginalUri, Path, Query, State as Extract},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use self::families::{Family, Sample};
use super::{State, answer, prometheus::encode};
use crate::Problem;

pub(super) mod families;

/// Units that a name may end with.
const UNITS: [&str; 2] = ["seconds", "bytes"];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metric<'t> {
    name: &'t str,
    description: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_unit: Option<&'static str>,
    measurements: Vec<Measurement>,
    available_tags: Vec<AvailableTag<'t>>,
}

#[derive(Debug, Serialize)]
struct Measurement {
    statistic: &'static str,
    value: f64,
}

#[derive(Debug, Serialize)]
struct AvailableTag<'t> {
    tag: &'t str,
    values: BTreeSet<&'t str>,
}

/// The names of all metrics that have a value by now.
pub(super) async fn names(Extract(state): Extract<Arc<State>>) -> Result<Response, Problem> {
    let text = encode(state.metrics.clone()).await?;
    let names: BTreeSet<_> = families::read(&text).iter().map(|family| family.name).collect();
    Ok(answer::ok(&json!({"names": names})))
}

/// One metric: the sum of the series that have all tags asked for.
pub(super) async fn one(
    Extract(state): Extract<Arc<State>>,
    Path(name): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    uri: OriginalUri,
) -> Result<Response, Problem> {
    let tags = query.iter().filter(|(key, _)| key == "tag").map(|(_, tag)| tag.split_once(':').ok_or_else(bad_tag));
    let tags: Vec<_> = tags.collect::<Result<_, _>>()?;
    let text = encode(state.metrics.clone()).await?;
    let families = families::read(&text);
    match families.iter().find(|family| family.name == name).and_then(|family| narrow(family, &tags)) {
        Some(metric) => Ok(answer::ok(&metric)),
        None => Ok(answer::not_found(uri).await.into_response()),
    }
}

/// `None` if no series has all the tags.
fn narrow<'t>(family: &'t Family<'_>, tags: &[(&str, &str)]) -> Option<Metric<'t>> {
    let wanted = |sample: &&Sample<'_>| {
        tags.iter().all(|(tag, value)| sample.labels.iter().any(|label| label.0 == *tag && label.1 == *value))
    };
    // A bucket is a part of a histogram that has no place here.
    let whole = family.samples.iter().filter(|sample| sample.suffix != "_bucket");
    let samples: Vec<_> = whole.filter(wanted).collect();

    let mut sums = BTreeMap::<_, f64>::new();
    let mut available = BTreeMap::<&str, BTreeSet<&str>>::new();
    for sample in &samples {
        *sums.entry(statistic(sample.suffix)).or_default() += sample.value;
        for (tag, value) in sample.labels.iter().filter(|label| tags.iter().all(|tag| tag.0 != label.0)) {
            available.entry(tag).or_default().insert(value);
        }
    }
    (!samples.is_empty()).then(|| Metric {
        name: family.name,
        description: family.help,
        base_unit: UNITS.into_iter().find(|unit| family.name.ends_with(unit)),
        measurements: sums.into_iter().map(|(statistic, value)| Measurement { statistic, value }).collect(),
        available_tags: available.into_iter().map(|(tag, values)| AvailableTag { tag, values }).collect(),
    })
}

fn statistic(suffix: &str) -> &'static str {
    match suffix {
        "_total" | "_count" => "COUNT",
        "_sum" => "TOTAL",
        _ => "VALUE",
    }
}

fn bad_tag() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER").detail("a tag is asked for in the form ?tag=key:value")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP took_seconds Time.\n# TYPE took_seconds histogram\n\
        took_seconds_sum{route=\"/a\",method=\"GET\"} 1.5\ntook_seconds_count{route=\"/a\",method=\"GET\"} 2\n\
        took_seconds_bucket{le=\"+Inf\",route=\"/a\",method=\"GET\"} 2\n\
        took_seconds_sum{route=\"/b\",method=\"GET\"} 2.5\ntook_seconds_count{route=\"/b\",method=\"GET\"} 3\n\
        took_seconds_bucket{le=\"+Inf\",route=\"/b\",method=\"GET\"} 3\n# EOF\n";

    fn narrowed(tags: &[(&str, &str)]) -> Option<serde_json::Value> {
        narrow(&families::read(TEXT)[0], tags).map(|metric| json!(metric))
    }

    #[test]
    fn what_is_not_asked_for_is_summed_up() {
        let expected = json!({
            "name": "took_seconds", "description": "Time.", "baseUnit": "seconds",
            "measurements": [{"statistic": "COUNT", "value": 5.0}, {"statistic": "TOTAL", "value": 4.0}],
            "availableTags": [{"tag": "method", "values": ["GET"]}, {"tag": "route", "values": ["/a", "/b"]}],
        });
        assert_eq!(narrowed(&[]), Some(expected));
    }

    #[test]
    fn tags_narrow_down_and_are_then_no_longer_offered() {
        let one = narrowed(&[("route", "/b"), ("method", "GET")]).unwrap();
        assert_eq!(one["measurements"][1], json!({"statistic": "TOTAL", "value": 2.5}));
        assert_eq!(one["availableTags"], json!([]));
        assert_eq!(narrowed(&[("route", "/c")]), None);
        assert_eq!(narrowed(&[("le", "+Inf")]), None);
    }
}
