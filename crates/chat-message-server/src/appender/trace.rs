//! The spans of a command whose request is traced.

use chat_domain::ports::Appended;
use common_logging::trace::{Place, Span, SpanKind, Tracer};

use super::AppendError;

/// The span `append`, from the queue to the commit, and the place of `publish`, which the event has to name before it is
/// written.
#[derive(Debug)]
pub(crate) struct AppendTrace {
    append: Span,
    publish: Place,
}

impl AppendTrace {
    /// Begins to append for this request.
    pub(crate) fn begin(tracer: &Tracer, request: Place) -> Option<Box<Self>> {
        let append = tracer.span(request, SpanKind::Internal, "append")?;
        let publish = append.place().another();
        Some(Box::new(Self { append, publish }))
    }

    /// What the event says, so that its deliveries hang under its publication.
    pub(crate) fn traceparent(&self) -> String {
        self.publish.to_string()
    }

    /// Ends `append` and begins `publish`, if there is an event to publish.
    pub(super) fn answered(mut self, result: &Result<Appended, AppendError>) -> Option<Span> {
        let event = match result {
            Ok(appended) => appended.event.as_ref()?,
            Err(AppendError::Refused(refusal)) => {
                self.append.set("error.type", refusal.code());
                return None;
            }
            Err(error) => {
                self.append.fail(error.to_string());
                return None;
            }
        };
        self.append.set("chat.channel.id", event.channel_id.to_string());
        self.append.set("chat.seq", signed(event.seq));
        let mut publish = self.append.child_at(self.publish, SpanKind::Producer, "publish");
        publish.set("messaging.system", "redis");
        publish.set("messaging.operation.type", "send");
        publish.set("chat.channel.id", event.channel_id.to_string());
        publish.set("chat.seq", signed(event.seq));
        Some(publish)
    }
}

/// Spans have no unsigned numbers.
fn signed(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
