use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn ids(seq: u64) -> MessageIds {
    MessageIds { message_id: Uuid::from_u128(seq.into()), client_message_id: Uuid::from_u128((seq + 1_000).into()) }
}

/// Message number `seq` is sent at `seq` × 10 and acknowledged 5 later.
fn acknowledged(seq: u64) -> Acknowledged {
    let MessageIds { message_id, client_message_id } = ids(seq);
    Acknowledged { channel: 0, seq, message_id, client_message_id, started: seq * 10, at: seq * 10 + 5, attempts: 1 }
}

fn receipt(seq: u64) -> Receipt {
    Receipt { channel: 0, seq, message: Some(ids(seq)), at: seq * 10 + 6, connection: 1 }
}

fn sent(seqs: impl IntoIterator<Item = u64>) -> Sent {
    Sent { acknowledged: seqs.into_iter().map(acknowledged).collect(), ..Sent::default() }
}

fn journal(seqs: &[u64]) -> Journal {
    let receipts = seqs.iter().map(|seq| receipt(*seq)).collect();
    Journal { listener: "l".to_owned(), channels: vec![0], receipts, ..Journal::default() }
}

fn found(sent: &Sent, journal: Journal) -> Vec<(Kind, u64)> {
    check(sent, &[journal]).into_iter().map(|violation| (violation.kind, violation.seq)).collect()
}

#[test]
fn everything_once_in_order_is_fine() {
    assert_eq!(found(&sent(1..=4), journal(&[1, 2, 3, 4])), []);
}

#[test]
fn what_was_committed_but_not_acknowledged_may_come_too() {
    assert_eq!(found(&sent([1, 2]), journal(&[1, 2, 3])), []);
}

#[test]
fn a_hole_and_a_missing_end_are_lost() {
    assert_eq!(found(&sent(1..=4), journal(&[1, 3])), [(Kind::Lost, 2), (Kind::Lost, 4)]);
    assert_eq!(found(&sent([1, 3]), journal(&[1, 3])), [(Kind::Lost, 2)], "even if nobody was told of it");
    assert_eq!(found(&sent([1]), journal(&[])), [(Kind::Lost, 1)]);
}

#[test]
fn a_repeat_is_a_duplicate() {
    assert_eq!(found(&sent(1..=2), journal(&[1, 2, 2])), [(Kind::Duplicated, 2)]);
    assert_eq!(found(&sent(1..=2), journal(&[1, 2, 1])), [(Kind::Duplicated, 1)]);
}

#[test]
fn a_late_one_is_out_of_order() {
    assert_eq!(found(&sent(1..=3), journal(&[1, 3, 2])), [(Kind::OutOfOrder, 2)]);
}

#[test]
fn a_message_under_two_numbers_is_a_duplicate() {
    let mut journal = journal(&[1, 2]);
    journal.receipts[1].message = Some(ids(1));
    assert_eq!(found(&sent([1]), journal), [(Kind::Duplicated, 2)]);
}

#[test]
fn another_message_than_the_acknowledged_one_is_found() {
    let mut journal = journal(&[1, 2]);
    journal.receipts[1].message = Some(ids(9));
    assert_eq!(found(&sent(1..=2), journal), [(Kind::Duplicated, 2)]);
}

#[test]
fn a_send_that_was_stored_twice_is_a_duplicate() {
    let mut journal = journal(&[1, 2]);
    // The answer to the first attempt was lost; only the second was acknowledged.
    journal.receipts[0].message = Some(MessageIds { message_id: Uuid::from_u128(77), ..ids(2) });
    assert_eq!(found(&sent([2]), journal), [(Kind::Duplicated, 2)]);
}

#[test]
fn listeners_that_receive_different_events_under_one_number_are_found() {
    let mut other = journal(&[1]);
    other.receipts[0].message = Some(ids(9));
    let violations = check(&sent([]), &[journal(&[1]), other]);
    assert_eq!(violations.len(), 1);
    assert_eq!((violations[0].kind, violations[0].seq), (Kind::Duplicated, 1));
}

#[test]
fn one_number_for_two_messages_is_found() {
    let mut sent = sent([1]);
    sent.acknowledged.push(Acknowledged { message_id: Uuid::from_u128(77), ..acknowledged(1) });
    assert!(check(&sent, &[]).iter().any(|violation| violation.kind == Kind::Duplicated));
}

#[test]
fn numbers_follow_the_order_of_sending() {
    let mut sent = sent(1..=3);
    // 3 was acknowledged before 2 was sent.
    sent.acknowledged[2] = Acknowledged { started: 11, at: 19, ..acknowledged(3) };
    assert_eq!(check(&sent, &[])[0].kind, Kind::OutOfOrder);
    // Overlapping sends may have either order.
    sent.acknowledged[2] = Acknowledged { started: 11, at: 24, ..acknowledged(3) };
    assert_eq!(check(&sent, &[]), []);
}

#[test]
fn channels_are_apart() {
    let mut other = acknowledged(1);
    other.channel = 1;
    let sent = Sent { acknowledged: vec![acknowledged(1), other], ..Sent::default() };
    assert_eq!(found(&sent, journal(&[1])), [], "the listener does not listen to channel 1");
}

proptest! {
    /// Whatever is dropped from a perfect journal, repeated or moved in it, is found.
    #[test]
    fn no_damage_goes_unseen(length in 2..40usize, at in 0..40usize, by in 1..10usize, damage in 0..3u8) {
        let (at, seqs) = (at % length, (1..=length as u64).collect::<Vec<_>>());
        let mut damaged = seqs.clone();
        let seq = damaged.remove(at);
        let expected = match damage {
            0 => Kind::Lost,
            1 => {
                damaged.insert(at, seq);
                damaged.insert((at + by).min(length), seq);
                Kind::Duplicated
            }
            _ => {
                prop_assume!(at + 1 < length);
                damaged.insert((at + by).min(length - 1), seq);
                Kind::OutOfOrder
            }
        };
        let found = found(&sent(seqs), journal(&damaged));
        prop_assert!(found.contains(&(expected, seq)), "{:?} in {:?}", found, damaged);
    }
}
