//! What is printed when everything is ready.

use super::plan::{Plan, management_port};
use super::setup::Demo;
use crate::ui::say;

pub(super) fn print(plan: &Plan, demo: &Demo) {
    for line in lines(plan, demo) {
        say(line);
    }
}

fn lines(plan: &Plan, demo: &Demo) -> Vec<String> {
    let http = plan.http_port;
    let mut lines = vec![
        format!("  Page        http://127.0.0.1:{http}/"),
        format!("  API         http://127.0.0.1:{http}/docs"),
        format!("  Instances   {}", plan.websocket_urls().join("  ")),
        format!("  Health      http://127.0.0.1:{}/actuator/health", management_port(http)),
        format!("  Data, logs  {}", plan.data.display()),
        String::new(),
        "  Tokens".to_owned(),
    ];
    lines.extend(demo.users.iter().map(|user| format!("    {:<7} {}", user.name, user.token)));

    // One listener per instance, each as another user.
    lines.push(String::new());
    lines.push("  Listen with any WebSocket client (websocat takes the same URL):".to_owned());
    for (url, user) in plan.websocket_urls().iter().zip(demo.users.iter().cycle().skip(1)).take(2) {
        lines.push(format!("python3 -m websockets '{url}?access_token={}&roomId={}'", user.token, demo.channel_id));
    }
    if let Some(sender) = demo.users.first() {
        lines.push(String::new());
        lines.push(format!("  Send to the channel general as {}:", sender.name));
        lines.push(curl(http, &sender.token, &demo.channel_id));
    }
    lines.push(String::new());
    lines.push("  Ctrl-C stops everything.".to_owned());
    lines
}

fn curl(port: u16, token: &str, channel: &str) -> String {
    let body = format!(r#"{{"channelId":"{channel}","messageType":"TEXT","payload":{{"text":"hello"}}}}"#);
    format!(
        "curl -sS http://127.0.0.1:{port}/api/v1/messages -H 'Authorization: Bearer {token}' \
         -H 'Content-Type: application/json' -d '{body}'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curl_line_is_one_line_with_a_json_body() {
        let line = curl(20001, "token", "channel");
        assert!(!line.contains('\n'));
        let body = line.split("-d '").nth(1).and_then(|rest| rest.strip_suffix('\'')).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["channelId"], "channel");
        assert_eq!(body["payload"]["text"], "hello");
    }
}
