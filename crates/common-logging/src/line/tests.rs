use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tracing::{Subscriber, debug, info, info_span, level_filters::LevelFilter, subscriber::with_default};

use super::*;
use crate::{LogConfig, LogError, LogHandle, ROOT};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    fn json(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logs(format: LogFormat, filter: &str) -> (Page, impl Subscriber + Send + Sync, LogHandle) {
    let page = Page::default();
    let writer = page.clone();
    let config = LogConfig { format, filter: filter.to_owned() };
    let (subscriber, handle) = crate::subscriber(&config, move || writer.clone()).unwrap();
    (page, subscriber, handle)
}

#[test]
fn a_json_line_holds_its_spans_fields_flat() {
    let (page, subscriber, _handle) = logs(LogFormat::Json, "info");
    with_default(subscriber, || {
        let request = info_span!("request", trace.id = "abc", user.id = tracing::field::Empty);
        let _in_request = request.enter();
        let _in_step = info_span!("step", step.name = "append", attempt = 1).entered();
        request.record("user.id", "u-1");
        info!(attempt = 2, ok = true, ratio = 0.5, "appended");
    });

    let [line] = &page.json()[..] else { panic!("one line") };
    let mut line = line.as_object().unwrap().clone();
    let time = line.remove("@timestamp").unwrap();
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    let expected = json!({
        "log.level": "INFO", "log.logger": "common_logging::line::tests", "message": "appended", "trace.id": "abc",
        "user.id": "u-1", "step.name": "append", "attempt": 2, "ok": true, "ratio": 0.5,
    });
    assert_eq!(Value::Object(line), expected);
}

#[test]
fn spans_that_are_over_leave_nothing() {
    let (page, subscriber, _handle) = logs(LogFormat::Json, "info");
    with_default(subscriber, || {
        info_span!("request", trace.id = "abc").in_scope(|| info!("inside"));
        info!("outside");
    });
    assert_eq!(page.json()[0]["trace.id"], "abc");
    assert_eq!(page.json()[1].get("trace.id"), None);
}

#[test]
fn secrets_are_masked_in_both_formats() {
    for format in [LogFormat::Json, LogFormat::Pretty] {
        let (page, subscriber, _handle) = logs(format, "info");
        with_default(subscriber, || {
            let _span = info_span!("request", url.full = "/ws?access_token=hush1").entered();
            info!(auth.token = "hush2", error.message = ?Some("redis://u:hush3@h"), "to {}", "postgres://u:hush4@h");
        });
        let [line] = &page.lines()[..] else { panic!("one line") };
        assert!(!line.contains("hush"), "{line}");
        assert_eq!(line.matches("***").count(), 4, "{line}");
    }
}

#[test]
fn a_pretty_line_is_one_line_whatever_is_in_it() {
    let (page, subscriber, _handle) = logs(LogFormat::Pretty, "info");
    with_default(subscriber, || info!(name = "a\nb", "first\r\nsecond"));
    let [line] = &page.lines()[..] else { panic!("one line") };
    assert!(line.ends_with(" INFO common_logging::line::tests: first  second name=\"a\\nb\""), "{line}");
}

#[test]
fn the_filter_changes_while_running_and_a_broken_one_changes_nothing() {
    let (page, subscriber, handle) = logs(LogFormat::Json, "warn");
    with_default(subscriber, || {
        info!("1");
        handle.set_filter("info").unwrap();
        info!("2");
        assert!(handle.set_filter("common_logging=loud").is_err());
        assert_eq!(handle.filter().unwrap(), "info");
        info!("3");
        handle.set_filter("off").unwrap();
        info!("4");
    });
    let messages: Vec<_> = page.json().iter().map(|line| line["message"].clone()).collect();
    assert_eq!(messages, ["2", "3"]);
}

#[test]
fn one_logger_changes_while_running_within_bounds() {
    let (page, subscriber, handle) = logs(LogFormat::Json, "warn");
    let (own, debug) = ("common_logging::line", Some(LevelFilter::DEBUG));
    with_default(subscriber, || {
        debug!("1");
        handle.set_level(own, debug).unwrap();
        debug!("2");
        handle.set_level(own, None).unwrap();
        debug!("3");
        let refused = (0..200).find_map(|number| handle.set_level(&format!("m{number}"), debug).err());
        assert!(matches!(refused, Some(LogError::TooLong)), "{refused:?}");
        assert!(matches!(handle.set_level("a=b", debug), Err(LogError::Name)));
        assert!(matches!(handle.set_level(ROOT, None), Err(LogError::RootWithoutLevel)));
        assert!(matches!(handle.set_filter(&"a=info,".repeat(200)), Err(LogError::TooLong)));
        handle.set_filter("off").unwrap();
    });
    let messages: Vec<_> = page.json().iter().map(|line| line["message"].clone()).collect();
    assert_eq!(messages, ["2"]);
}

#[test]
fn a_filter_in_the_configuration_is_checked_as_it_is_read() {
    let read = |json: Value| serde_json::from_value::<LogConfig>(json);
    assert_eq!(read(json!({"filter": "info,a::b=debug"})).unwrap().filter, "info,a::b=debug");
    let error = read(json!({"filter": "a=loud"})).unwrap_err().to_string();
    assert!(error.contains("allowed: such as `info`"), "{error}");
    assert!(read(json!({"formt": "json"})).is_err());
}
