//! What handlers share.

use std::sync::Arc;

use chat_domain::{
    ChannelId, Clock, Command, EventId, Refusal,
    ledger::Action,
    ports::{Appended, ChannelView, Storage},
};
use common_auth::AuthConfig;
use common_logging::trace::Tracer;
use common_server::Scope;
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::{
    accounts::Accounts,
    appender::{AppendTrace, Appender},
    config::DemoConfig,
    error::ApiError,
    extract::Caller,
    limits::RequestLimits,
    outbox::Outbox,
    tokens::Tokens,
};

/// What handlers share. Dropping it is what ends the appender, and then the outbox, once their queues are empty.
pub(crate) struct App {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tokens: Tokens,
    pub(crate) accounts: Accounts,
    pub(crate) limits: Arc<RequestLimits>,
    pub(crate) appender: Appender,
    pub(crate) outbox: Outbox,
    pub(crate) scope: Scope,
    pub(crate) auth: AuthConfig,
    pub(crate) demo: DemoConfig,
    pub(crate) tracer: Tracer,
}

impl App {
    /// Does work that must not stop half-way, such as between a commit and the signal that tells of it: it goes on when the
    /// caller hangs up or has waited too long, and shut-down waits for it.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (answer, answered) = oneshot::channel();
        let task = async move {
            // The caller may have gone away.
            let _ = answer.send(work.await);
        };
        self.scope.spawn("request", task.in_current_span());
        // Without an answer it was dropped at the end of shut-down, or it panicked, which the scope has logged.
        let stopping = self.scope.stopping();
        answered
            .await
            .unwrap_or_else(|_| Err(if stopping.is_cancelled() { ApiError::ShuttingDown } else { ApiError::Internal }))
    }

    /// Has an action of the caller committed and published.
    pub(crate) async fn append(&self, caller: &Caller, action: Action) -> Result<Appended, ApiError> {
        let at = self.clock.now();
        let trace_id = caller.trace_id.as_ref().map(ToString::to_string);
        let trace = caller.traced.and_then(|request| AppendTrace::begin(&self.tracer, request));
        let traceparent = trace.as_deref().map(AppendTrace::traceparent);
        let command = Command { event_id: EventId::new(at), at, trace_id, traceparent, action };
        Ok(self.appender.append(command, trace).await?)
    }

    /// The channel, if the caller may know of it.
    pub(crate) async fn channel(&self, caller: &Caller, id: ChannelId) -> Result<ChannelView, ApiError> {
        self.find_channel(caller, id).await?.ok_or_else(|| Refusal::ChannelNotFound.into())
    }

    /// The channel, or `None` if there is none that the caller may know of.
    pub(crate) async fn find_channel(&self, caller: &Caller, id: ChannelId) -> Result<Option<ChannelView>, ApiError> {
        let view = self.storage.channel(id, caller.id()).await?;
        Ok(view.filter(|view| {
            let role = view.member.as_ref().map(|member| member.role);
            view.channel.may_see(role, caller.actor().admin)
        }))
    }
}
