use proptest::prelude::*;

use super::*;

#[test]
fn passwords_in_urls_are_masked() {
    for (text, masked) in [
        ("postgres://app:s3cret@db:5432/app?x=1", "postgres://app:***@db:5432/app?x=1"),
        ("redis://:s3cret@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        ("redis://u:p@ss:w@host", "redis://u:***@host"),
        ("a redis://a:b@c and a postgres://d:e@f", "a redis://a:***@c and a postgres://d:***@f"),
        ("Some(\"redis://a:b@c\")", "Some(\"redis://a:***@c\")"),
    ] {
        assert_eq!(mask_url(text), masked);
    }
}

#[test]
fn tokens_in_queries_are_masked() {
    for (text, masked) in [
        ("/ws/chat?access_token=eyJ.a.b&roomId=1", "/ws/chat?access_token=***&roomId=1"),
        ("/ws/chat?roomId=1&ACCESS_TOKEN=eyJ", "/ws/chat?roomId=1&ACCESS_TOKEN=***"),
        ("postgres://h/db?user=a&password=b#c", "postgres://h/db?user=a&password=***#c"),
        ("uri=\"/x?token=abc\" status=200", "uri=\"/x?token=***\" status=200"),
    ] {
        assert_eq!(mask_url(text), masked);
    }
}

#[test]
fn everything_else_stays() {
    for text in ["", "hello", "a=b", "http://host:80/@me", "mail me@host: now", "my_token_count=7", "http://user@host/"]
    {
        assert_eq!(mask_url(text), text);
    }
}

#[test]
fn the_last_part_of_a_name_decides() {
    assert!(is_secret_name("auth.secret") && is_secret_name("Authorization") && is_secret_name("db.password"));
    assert!(!is_secret_name("secret.count") && !is_secret_name("user.id") && !is_secret_name(""));
}

proptest! {
    #[test]
    fn no_password_gets_through(user in "[a-z]{0,5}", password in "[A-Z0-9:@._~-]{6,20}", before in "[ =?&a-z]{0,10}") {
        let text = format!("{before} postgres://{user}:{password}@host/db");
        prop_assert!(!mask_url(&text).contains(&password));
    }

    #[test]
    fn no_token_gets_through(token in "[A-Z0-9._-]{6,60}", before in "[ =?&a-z/:@]{0,20}") {
        let text = format!("{before}?access_token={token}&next=1");
        prop_assert!(!mask_url(&text).contains(&token), "{}", mask_url(&text));
    }

    #[test]
    fn any_text_is_taken(text in any::<String>()) {
        mask_url(&text);
    }
}
