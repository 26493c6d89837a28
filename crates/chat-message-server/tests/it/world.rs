//! A server of its own for each test, and short words for what the tests do with it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use chat_domain::{ChannelId, SystemClock, UserId, ports::Storage};
use chat_events::{
    Topic,
    bus::{
        Delivery, Interest, Subscriber,
        redis::{RedisMetrics, RedisPublisher, RedisSubscriber},
    },
};
use chat_message_server::{Backends, Config, serve};
use chat_storage::DatabaseConfig;
use chat_test_support::{
    http_api::{Answer, HttpApi},
    postgres::Database,
    proxy::TcpProxy,
    redis::RedisServer,
    tokens, wait_for, wait_until,
};
use common_auth::{Role, development_user_id};
use common_logging::trace::Tracer;
use common_server::{Ending, Lifecycle};
use prometheus_client::registry::Registry;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) const SECRET: &str = "a secret that only the tests of this crate know";
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

enum Place {
    /// Removed when it is dropped.
    File {
        _folder: TempDir,
    },
    Database(Database),
}

/// A running server with all that it needs.
pub(crate) struct World {
    pub(crate) base: String,
    pub(crate) redis: RedisServer,
    pub(crate) database_url: String,
    lifecycle: Lifecycle,
    backends: Backends,
    registry: Registry,
    place: Place,
}

impl World {
    pub(crate) async fn new(kind: Kind) -> Self {
        Self::with(kind, |_| ()).await
    }

    pub(crate) async fn with(kind: Kind, configure: impl FnOnce(&mut Config)) -> Self {
        let (place, database_url) = match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite://{}", folder.path().join("chat.db").display());
                (Place::File { _folder: folder }, url)
            }
            Kind::Postgres => {
                let database = Database::create().await;
                let url = database.url();
                (Place::Database(database), url)
            }
        };
        Self::on(place, database_url, configure).await
    }

    async fn on(place: Place, database_url: String, configure: impl FnOnce(&mut Config)) -> Self {
        let redis = RedisServer::start().await;
        let mut config = Config::default();
        config.auth.secret = SECRET.into();
        config.limits.requests_per_second = 0;
        config.database =
            DatabaseConfig { url: database_url.clone().into(), max_connections: 6, ..DatabaseConfig::default() };
        config.redis.url = redis.url().into();
        config.process.drain = DEADLINE;
        configure(&mut config);

        let (lifecycle, mut registry) = (Lifecycle::new(config.process.drain), Registry::default());
        let (publisher, follow) =
            RedisPublisher::connect(&config.redis, &RedisMetrics::default(), lifecycle.soft_token().clone()).unwrap();
        lifecycle.spawn_essential("bus", follow);
        let storage = chat_storage::open(&config.database).await.unwrap();
        let backends = Backends {
            storage,
            publisher: Arc::new(publisher),
            clock: Arc::new(SystemClock),
            tracer: Tracer::default(),
        };
        wait_until("the publisher is connected", DEADLINE, async || backends.publisher.ping().await.is_ok()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        serve(listener, &config, &backends, &mut registry, &lifecycle).unwrap();
        Self { base, redis, database_url, lifecycle, backends, registry, place }
    }

    /// On PostgreSQL, with a network between that can be broken.
    pub(crate) async fn behind_proxy(configure: impl FnOnce(&mut Config)) -> (Self, TcpProxy) {
        let database = Database::create().await;
        let mut url: Url = database.url().parse().unwrap();
        let proxy = TcpProxy::start(url.socket_addrs(|| None).unwrap()[0]).await;
        url.set_ip_host(proxy.address().ip()).unwrap();
        url.set_port(Some(proxy.address().port())).unwrap();
        let world = Self::on(Place::Database(database), url.into(), configure).await;
        (world, proxy)
    }

    /// The API as the development user of this name calls it.
    pub(crate) fn user(&self, name: &str) -> HttpApi {
        self.with_roles(name, &[])
    }

    pub(crate) fn with_roles(&self, name: &str, roles: &[Role]) -> HttpApi {
        HttpApi::new(self.base.clone(), tokens::issue(SECRET, name, roles))
    }

    /// A request of this user, for what [`HttpApi`] has no words.
    pub(crate) fn request(&self, name: &str, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(tokens::issue(SECRET, name, &[]))
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        reqwest::Client::new().request(method, format!("{}{path}", self.base))
    }

    /// The value of a counter.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    /// Hears a topic on the real Redis, from now on.
    pub(crate) async fn hear(&self, topic: Topic) -> Ear {
        let heard: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let config = chat_events::bus::redis::RedisConfig { url: self.redis.url().into(), ..Default::default() };
        let stop = CancellationToken::new();
        let sink = {
            let heard = heard.clone();
            Box::new(move |delivery| {
                if let Delivery::Payload { payload, .. } = delivery {
                    heard.lock().unwrap().push(payload);
                }
            })
        };
        let (subscriber, run) =
            RedisSubscriber::connect(&config, &RedisMetrics::default(), sink, stop.clone()).unwrap();
        self.lifecycle.background().spawn("ear", run);
        let interest = subscriber.interest(topic);
        wait_until("the topic is subscribed", DEADLINE, async || {
            self.redis.execute(&["PUBSUB", "NUMSUB", &topic.to_string()]).await.contains(":1\r\n")
        })
        .await;
        Ear { heard, _interest: interest, _subscriber: subscriber, stop }
    }

    /// Breaks every connection to the PostgreSQL database.
    pub(crate) async fn cut_database(&self) {
        match &self.place {
            Place::Database(database) => database.cut_connections().await,
            Place::File { .. } => panic!("this test is for PostgreSQL"),
        }
    }

    /// The ids of all messages of a channel, read past the server, which may have ended.
    pub(crate) async fn logged(&self, channel: ChannelId) -> BTreeSet<String> {
        let storage = self.storage_of_another_server().await;
        let events = storage.replay(channel, 0, u32::MAX).await.unwrap();
        storage.close().await;
        let id = |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap()["messageId"].as_str().map(str::to_owned);
        events.iter().filter_map(|event| id(&event.body)).collect()
    }

    /// The store as another server has it open, without a network between that can be broken.
    pub(crate) async fn storage_of_another_server(&self) -> Arc<dyn Storage> {
        let url = match &self.place {
            Place::Database(database) => database.url(),
            Place::File { .. } => self.database_url.clone(),
        };
        chat_storage::open(&DatabaseConfig { url: url.into(), ..Default::default() }).await.unwrap()
    }

    /// All metrics as text.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Begins the shut-down, as a signal would.
    pub(crate) fn shut_down(&self) {
        self.lifecycle.shut_down();
    }

    /// Shuts down and waits until all is done.
    pub(crate) async fn end(&self) -> Ending {
        self.shut_down();
        let ending = self.lifecycle.run_to_end_with(async || std::future::pending().await).await;
        self.backends.close().await;
        ending
    }
}

/// What was heard on a topic.
pub(crate) struct Ear {
    heard: Arc<Mutex<Vec<Bytes>>>,
    stop: CancellationToken,
    _interest: Interest,
    _subscriber: RedisSubscriber,
}

impl Ear {
    /// Everything heard, once it is this much.
    pub(crate) async fn payloads(&self, count: usize) -> Vec<String> {
        let what = format!("{count} payloads are heard");
        let all = wait_for(&what, DEADLINE, async || {
            let heard = self.heard.lock().unwrap();
            (heard.len() >= count).then(|| heard.clone())
        });
        all.await.into_iter().map(|payload| String::from_utf8(payload.to_vec()).unwrap()).collect()
    }
}

impl Ear {
    /// Waits until something with this text is heard.
    pub(crate) async fn heard(&self, text: &str) {
        wait_until(text, DEADLINE, async || {
            let heard = self.heard.lock().unwrap();
            heard.iter().any(|payload| String::from_utf8_lossy(payload).contains(text))
        })
        .await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A request that must have this status; its body.
pub(crate) async fn expect(api: &HttpApi, method: Method, path: &str, body: Option<Value>, status: u16) -> Value {
    let answer = api.call(method.clone(), path, body).await;
    assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.body);
    answer.body
}

pub(crate) async fn get(api: &HttpApi, path: &str) -> Value {
    expect(api, Method::GET, path, None, 200).await
}

/// A request that must be refused with this status and code.
pub(crate) async fn refused(
    api: &HttpApi,
    method: Method,
    path: &str,
    body: Option<Value>,
    (status, code): (u16, &str),
) -> Answer {
    let answer = api.call(method.clone(), path, body).await;
    assert_problem(&answer, path, (status, code));
    answer
}

/// Is the answer this problem, in full form?
pub(crate) fn assert_problem(answer: &Answer, path: &str, (status, code): (u16, &str)) {
    let Answer { status: actual, headers, body } = answer;
    assert_eq!((actual.as_u16(), body["code"].as_str()), (status, Some(code)), "{path}: {body}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(body["status"], status);
    assert_eq!(body["instance"], path.split('?').next().unwrap());
    assert_eq!(body["traceId"].as_str(), headers["x-trace-id"].to_str().ok());
    assert!(body["title"].is_string() && body["detail"].is_string() && body["type"].is_string(), "{body}");
}

/// Reads a response to its end.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers): (StatusCode, _) = (response.status(), response.headers().clone());
    let body = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null);
    Answer { status, headers, body }
}

pub(crate) fn text(channel: ChannelId, text: &str) -> Value {
    json!({"channelId": channel, "messageType": "TEXT", "payload": {"text": text}})
}

pub(crate) fn user_id(name: &str) -> UserId {
    development_user_id(name).into()
}

/// A UUID that names nothing.
pub(crate) fn nobody() -> UserId {
    development_user_id("nobody has this name").into()
}

pub(crate) fn code_of(answer: &Answer) -> &str {
    answer.body["code"].as_str().unwrap_or_default()
}

/// The values of one field of a page's items.
pub(crate) fn column<'a>(page: &'a Value, field: &str) -> Vec<&'a Value> {
    page["items"].as_array().unwrap().iter().map(|item| &item[field]).collect()
}
