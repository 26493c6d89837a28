//! What the demo serves, and that it serves nothing where it is switched off.

use chat_test_support::system::System;
use serde_json::{Value, json};

#[tokio::test]
async fn nobody_signs_in_where_the_demo_is_off() {
    let system = System::builder().websocket_servers(0).start().await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", system.http_url(0));

    for path in ["/", "/demo/config", "/demo/app.js"] {
        assert_eq!(client.get(url(path)).send().await.unwrap().status(), 404, "{path}");
    }
    let sign_in = client.post(url("/demo/sign-in")).json(&json!({ "name": "alice" }));
    assert_eq!(sign_in.send().await.unwrap().status(), 404);
    let module = client.get(url("/chat-client.js")).send().await.unwrap();
    assert_eq!(module.status(), 200, "the client is not part of the demo");
    assert_eq!(module.headers()["content-type"], "text/javascript; charset=utf-8");
}

#[tokio::test]
async fn only_demo_users_sign_in_and_only_as_themselves() {
    let system = System::builder().demo().start().await;
    let client = reqwest::Client::new();
    let sign_in = async |body: Value| {
        client.post(format!("{}/demo/sign-in", system.http_url(0))).json(&body).send().await.unwrap()
    };

    for body in [json!({ "name": "mallory" }), json!({ "name": "Alice" }), json!({ "name": "" })] {
        assert_eq!(sign_in(body.clone()).await.status(), 422, "{body}");
    }
    for body in [json!({}), json!({ "name": 1 }), json!({ "name": "alice", "roles": ["ADMIN"] })] {
        assert_eq!(sign_in(body.clone()).await.status(), 400, "{body}");
    }

    let response = sign_in(json!({ "name": "alice" })).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let signed_in: Value = response.json().await.unwrap();
    let me = client.get(format!("{}/api/v1/users/me", system.http_url(0)));
    let me: Value = me.bearer_auth(signed_in["token"].as_str().unwrap()).send().await.unwrap().json().await.unwrap();
    assert_eq!((&me["userId"], &me["username"]), (&signed_in["userId"], &json!("alice")));
    let alice = system.user("alice").await;
    assert_eq!(signed_in["userId"], alice.id.to_string());

    let config: Value =
        client.get(format!("{}/demo/config", system.http_url(0))).send().await.unwrap().json().await.unwrap();
    assert_eq!(config["users"], json!(["alice", "bob", "carol", "dave"]));
    assert_eq!(config["userIds"]["alice"], signed_in["userId"]);
    assert_eq!(config["instances"], json!([system.websocket_url(0), system.websocket_url(1)]));
}
