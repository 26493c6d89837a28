//! The demo's users and its channel, made through the HTTP API; what is there already stays.

use serde_json::{Value, json};

use super::plan::Plan;
use crate::http::Request;
use crate::outcome::{Failure, Outcome, failure};
use crate::ui::Step;

const CHANNEL: &str = "general";

/// What there is to try out.
pub(super) struct Demo {
    pub(super) users: Vec<User>,
    pub(super) channel_id: String,
}

pub(super) struct User {
    pub(super) name: String,
    pub(super) token: String,
}

pub(super) fn demo_data(plan: &Plan) -> Outcome<Demo> {
    let step = Step::begin("demo users and channel");
    let api = Api { port: plan.http_port };
    let config = api.call("GET", "/demo/config", None, None)?;
    let names = config["users"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let users = names.map(|name| api.sign_in(name)).collect::<Outcome<Vec<_>>>()?;
    let Some(owner) = users.first() else { return failure("the demo has no users") };
    let channel_id = match api.find_channel(&owner.token)? {
        Some(id) => id,
        None => api.create_channel(&owner.token)?,
    };
    for user in &users {
        api.call("POST", &format!("/api/v1/channels/{channel_id}/members"), Some(&user.token), Some(json!({})))?;
    }
    step.done();
    Ok(Demo { users, channel_id })
}

struct Api {
    port: u16,
}

impl Api {
    fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<Value>) -> Outcome<Value> {
        Request { port: self.port, method, path, token, body }.must()
    }

    fn sign_in(&self, name: &str) -> Outcome<User> {
        let answer = self.call("POST", "/demo/sign-in", None, Some(json!({ "name": name })))?;
        Ok(User { name: name.to_owned(), token: text(&answer, "token")? })
    }

    /// Looks through the pages of public channels.
    fn find_channel(&self, token: &str) -> Outcome<Option<String>> {
        let mut path = "/api/v1/channels?scope=public&limit=200".to_owned();
        loop {
            let page = self.call("GET", &path, Some(token), None)?;
            let mut items = page["items"].as_array().into_iter().flatten();
            if let Some(channel) = items.find(|channel| channel["name"] == CHANNEL && channel["active"] == true) {
                return text(channel, "channelId").map(Some);
            }
            let Some(next) = page["page"]["next"].as_str() else { return Ok(None) };
            path = format!("/api/v1/channels?scope=public&limit=200&cursor={next}");
        }
    }

    fn create_channel(&self, token: &str) -> Outcome<String> {
        let request = json!({ "type": "PUBLIC", "name": CHANNEL, "description": "Everybody is here." });
        text(&self.call("POST", "/api/v1/channels", Some(token), Some(request))?, "channelId")
    }
}

fn text(answer: &Value, field: &str) -> Outcome<String> {
    let text = answer[field].as_str().map(str::to_owned);
    text.ok_or_else(|| Failure(format!("the message server answered without {field}")))
}
