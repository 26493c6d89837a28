use std::time::Duration;

use chat_test_support::{wait_for, wait_until};

#[tokio::test]
async fn a_condition_that_comes_true_is_awaited() {
    let mut looks = 0;
    wait_until("three looks", Duration::from_secs(5), async || {
        looks += 1;
        looks == 3
    })
    .await;
    assert_eq!(looks, 3);
}

#[tokio::test]
#[should_panic(expected = "in vain: the impossible")]
async fn a_condition_that_never_comes_true_ends_at_the_deadline() {
    wait_until("the impossible", Duration::from_millis(20), async || false).await;
}

#[tokio::test]
#[should_panic(expected = "in vain: an answer")]
async fn an_attempt_that_hangs_ends_at_the_deadline() {
    wait_for::<()>("an answer", Duration::from_millis(20), async || std::future::pending().await).await;
}
