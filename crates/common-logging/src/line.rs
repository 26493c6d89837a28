//! One line per event: the event's own fields and those of the spans around it, flat.

use std::{borrow::Cow, fmt, io::Write};

use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    fmt::{
        MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::{Context, Layer},
    registry::LookupSpan,
};

use crate::{
    LogFormat,
    mask::{MASK, is_secret_name, mask_url},
};

#[cfg(test)]
mod tests;

/// Writes each event as one line with one write call, so that lines of several threads never mix.
pub(crate) struct LineLayer<W> {
    format: LogFormat,
    writer: W,
}

impl<W> LineLayer<W> {
    pub(crate) fn new(format: LogFormat, writer: W) -> Self {
        Self { format, writer }
    }
}

impl<S, W> Layer<S> for LineLayer<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::with_capacity(attributes.fields().len());
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut all = Map::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                of_span.clone().put_into(&mut all);
            }
        }
        let mut fields = Fields::with_capacity(event.metadata().fields().len());
        event.record(&mut fields);
        fields.put_into(&mut all);

        let line = match self.format {
            LogFormat::Json => json_line(event, all),
            LogFormat::Pretty => pretty_line(event, all),
        };
        // A log that cannot be written has nowhere to complain.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(line.as_bytes());
    }
}

fn json_line(event: &Event<'_>, mut fields: Map<String, Value>) -> String {
    fields.insert("@timestamp".to_owned(), time().into());
    fields.insert("log.level".to_owned(), event.metadata().level().as_str().into());
    fields.insert("log.logger".to_owned(), event.metadata().target().into());
    let mut line = Value::Object(fields).to_string();
    line.push('\n');
    line
}

fn pretty_line(event: &Event<'_>, mut fields: Map<String, Value>) -> String {
    let message = fields.remove("message");
    let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
    let mut line = format!("{} {:>5} {}: {message}", time(), event.metadata().level(), event.metadata().target());
    for (name, value) in fields {
        line.push_str(&format!(" {name}={value}"));
    }
    // Text from outside must not be able to forge a second line.
    line = line.replace(['\n', '\r'], " ");
    line.push('\n');
    line
}

fn time() -> String {
    let mut text = String::new();
    // Only a broken system clock fails here, and then the line is worth more than its time.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Fields by their dotted names, secrets already masked; of two with one name the last counts. Each request has them in
/// its span, most never write a line.
#[derive(Clone)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        let value = if is_secret_name(field.name()) { MASK.into() } else { value.into() };
        self.0.push((field.name(), value));
    }

    fn put_into(self, all: &mut Map<String, Value>) {
        all.extend(self.0.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, mask_url(value).into_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let masked = match mask_url(&text) {
            Cow::Owned(masked) => masked,
            Cow::Borrowed(_) => text,
        };
        self.insert(field, masked);
    }
}
