use super::*;

const LINGER: Duration = Duration::from_secs(1);
const LINK: LinkId = 1;

/// A table whose topics are all on one link.
fn table(linger: Duration) -> Table {
    let mut table = Table::new(linger);
    table.links.insert(LINK, Link::default());
    table.reroute(Box::new(|_| Some(LINK)));
    table
}

fn topic(n: u32) -> Topic {
    Topic::Room(format!("018f4e7a-0000-7000-8000-{n:012}").parse().unwrap())
}

fn expire(table: &mut Table, now: Instant) -> Vec<Topic> {
    table.expire(now);
    table.take_expired(LINK)
}

fn sorted(mut topics: Vec<Topic>) -> Vec<Topic> {
    topics.sort();
    topics
}

#[test]
fn a_topic_is_subscribed_once_however_many_hold_it() {
    let mut table = table(LINGER);
    table.acquire(topic(1));
    table.acquire(topic(1));
    assert_eq!(table.take_pending(LINK), [topic(1)]);
    table.set_heard(LINK, &[topic(1)]);
    table.acquire(topic(1));
    assert_eq!(table.take_pending(LINK), []);
}

#[test]
fn it_lingers_after_the_last_holder() {
    let (mut table, now) = (table(LINGER), Instant::now());
    table.acquire(topic(1));
    table.acquire(topic(1));
    table.release(topic(1), now);
    assert_eq!(expire(&mut table, now + LINGER * 2), [], "somebody still holds it");
    table.release(topic(1), now);
    assert_eq!(expire(&mut table, now), []);
    assert!(table.holds(topic(1)));
    assert_eq!(expire(&mut table, now + LINGER), [topic(1)]);
    assert!(!table.holds(topic(1)));
}

#[test]
fn who_comes_back_within_the_linger_keeps_it() {
    let (mut table, now) = (table(LINGER), Instant::now());
    table.acquire(topic(1));
    table.take_pending(LINK);
    table.set_heard(LINK, &[topic(1)]);
    table.release(topic(1), now);
    table.acquire(topic(1));
    assert_eq!(expire(&mut table, now + LINGER), []);
    assert!(table.wait(topic(1)).is_none(), "it is still heard");
    table.release(topic(1), now + LINGER);
    assert_eq!(expire(&mut table, now + LINGER), [], "the linger starts anew");
    assert_eq!(expire(&mut table, now + LINGER * 2), [topic(1)]);
}

#[test]
fn who_comes_back_before_it_was_unsubscribed_gets_it_subscribed_again() {
    let (mut table, now) = (table(Duration::ZERO), Instant::now());
    table.acquire(topic(1));
    table.take_pending(LINK);
    table.set_heard(LINK, &[topic(1)]);
    table.release(topic(1), now);
    table.expire(now);
    table.acquire(topic(1));
    assert_eq!(table.take_expired(LINK), []);
    assert_eq!(table.take_pending(LINK), [topic(1)]);
}

#[test]
fn waiting_ends_when_the_topic_is_heard() {
    let mut table = table(LINGER);
    table.acquire(topic(1));
    let mut heard = table.wait(topic(1)).unwrap();
    assert!(heard.try_recv().is_err());
    table.set_heard(LINK, &[topic(1), topic(2)]);
    assert!(heard.try_recv().is_ok());
}

#[test]
fn who_has_waited_long_enough_is_forgotten() {
    let mut table = table(LINGER);
    table.acquire(topic(1));
    for _ in 0..100 {
        drop(table.wait(topic(1)));
    }
    let mut heard = table.wait(topic(1)).unwrap();
    assert_eq!(table.topics[&topic(1)].waiting.len(), 1);
    table.set_heard(LINK, &[topic(1)]);
    assert_eq!(heard.try_recv(), Ok(()));
    assert_eq!(table.topics[&topic(1)].waiting.capacity(), 0);
}

#[test]
fn after_a_loss_all_is_subscribed_again() {
    let (mut table, now) = (table(LINGER), Instant::now());
    for n in 1..=3 {
        table.acquire(topic(n));
    }
    let all = table.take_pending(LINK);
    table.set_heard(LINK, &all);
    table.release(topic(3), now);
    table.expire(now + LINGER);
    table.set_all_unheard(LINK);
    assert_eq!(sorted(table.take_pending(LINK)), [topic(1), topic(2)]);
}

#[test]
fn what_expired_while_nothing_was_heard_is_unsubscribed_afterwards() {
    let (mut table, now) = (table(LINGER), Instant::now());
    table.acquire(topic(1));
    table.take_pending(LINK);
    table.set_heard(LINK, &[topic(1)]);
    table.set_all_unheard(LINK);
    table.release(topic(1), now);
    table.expire(now + LINGER);
    table.set_all_unheard(LINK);
    assert_eq!(table.take_expired(LINK), [topic(1)]);
}

#[test]
fn a_topic_that_went_before_it_was_subscribed_is_not() {
    let (mut table, now) = (table(Duration::ZERO), Instant::now());
    table.acquire(topic(1));
    table.release(topic(1), now);
    assert_eq!(expire(&mut table, now), [topic(1)]);
    assert_eq!(table.take_pending(LINK), []);
}

#[test]
fn topics_wait_for_a_link() {
    let mut table = Table::new(LINGER);
    table.acquire(topic(1));
    table.links.insert(LINK, Link::default());
    assert_eq!(table.take_pending(LINK), []);
    assert_eq!(table.reroute(Box::new(|_| Some(LINK))), [LINK]);
    assert_eq!(table.take_pending(LINK), [topic(1)]);
}

#[test]
fn a_topic_that_moves_is_subscribed_where_it_goes() {
    let mut table = table(LINGER);
    table.links.insert(2, Link::default());
    for n in 1..=2 {
        table.acquire(topic(n));
    }
    let all = table.take_pending(LINK);
    table.set_heard(LINK, &all);
    let moved = topic(2);
    assert_eq!(table.reroute(Box::new(move |topic| Some(if topic == moved { 2 } else { LINK }))), [2]);
    assert!(!table.take_moved(2), "its loss is told first");
    table.set_moved(2);
    assert_eq!((table.take_moved(LINK), table.take_moved(2), table.take_moved(2)), (false, true, false));
    assert_eq!((table.take_pending(LINK), table.take_pending(2)), (vec![], vec![moved]));

    // A link that hears of it too late changes nothing.
    let mut heard = table.wait(moved).unwrap();
    table.set_heard(LINK, &[moved]);
    assert!(heard.try_recv().is_err());
    table.set_all_unheard(LINK);
    assert_eq!(table.take_pending(LINK), [topic(1)]);
    table.set_heard(2, &[moved]);
    assert!(heard.try_recv().is_ok());
}
