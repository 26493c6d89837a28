//! Several processes write to the same store. Each is this test binary, started again for one test only.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command as Process, Stdio},
};

use chat_domain::{ChannelId, Command, EventId, MessageContent, MessageId, SystemClock, UserId, ledger::Action};
use chat_domain::{Clock as _, ledger::NewMessage, message::Text};
use chat_storage::{DatabaseConfig, open};
use rstest::rstest;

use crate::world::{Kind, World, event};

const JOB: &str = "CHAT_STORAGE_TEST_JOB";
const PROCESSES: usize = 4;
const BATCHES: usize = 25;
const BATCH: usize = 16;

/// What one process is to do: URL, file for what it published, sender, channels; a line each.
struct Job {
    url: String,
    report: String,
    sender: UserId,
    channels: Vec<ChannelId>,
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_leave_no_holes(#[values(Kind::Sqlite, Kind::Postgres)] kind: Kind) {
    let world = World::new(kind).await;
    let alice = world.user("alice").await;
    let channels = vec![world.group(alice, &[]).await, world.group(alice, &[]).await];
    let reports = tempfile::tempdir().unwrap();

    let report = |number: usize| reports.path().join(number.to_string()).display().to_string();
    let children: Vec<_> = (0..PROCESSES)
        .map(|number| {
            let mut channels = channels.clone();
            channels.rotate_left(number % 2);
            start(&Job { url: world.url(), report: report(number), sender: alice, channels })
        })
        .collect();
    for child in children {
        let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    let mut published = BTreeMap::new();
    for number in 0..PROCESSES {
        for line in fs::read_to_string(report(number)).unwrap().lines() {
            let header = chat_events::EventHeader::parse(line.as_bytes()).unwrap();
            let place = (header.channel_id, header.seq.unwrap());
            assert!(published.insert(place, line.to_owned()).is_none(), "a number was given out twice: {place:?}");
        }
    }
    assert_eq!(published.len(), PROCESSES * BATCHES * BATCH);
    for &channel in &channels {
        world.assert_no_holes(channel).await;
        for logged in world.log(channel).await {
            assert_eq!(published[&(channel, logged.seq)].as_bytes(), logged.body);
        }
    }
}

fn start(job: &Job) -> std::process::Child {
    let channels = job.channels.iter().map(ToString::to_string);
    let lines: Vec<_> =
        [job.url.clone(), job.report.clone(), job.sender.to_string()].into_iter().chain(channels).collect();
    Process::new(std::env::current_exe().unwrap())
        .args(["processes::one_process", "--exact", "--ignored"])
        .env(JOB, lines.join("\n"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn job() -> Job {
    let lines = std::env::var_os(JOB).expect("only processes_leave_no_holes runs this");
    let mut lines = lines.to_str().unwrap().lines();
    let mut line = || lines.next().unwrap().to_owned();
    Job {
        url: line(),
        report: line(),
        sender: line().parse().unwrap(),
        channels: lines.map(|line| line.parse().unwrap()).collect(),
    }
}

#[tokio::test]
#[ignore = "it is one of the processes of processes_leave_no_holes"]
async fn one_process() {
    let job = job();
    let config = DatabaseConfig { url: job.url.into(), max_connections: 2, ..DatabaseConfig::default() };
    let store = open(&config).await.unwrap();
    let send = |number: usize| {
        let at = SystemClock.now();
        let message = NewMessage {
            id: MessageId::new(at),
            channel_id: job.channels[number % job.channels.len()],
            sender_id: job.sender,
            content: MessageContent::Text(Text { text: format!("message {number}") }),
            client_message_id: None,
            reply_to: None,
        };
        Command { event_id: EventId::new(at), at, trace_id: None, traceparent: None, action: Action::Send(message) }
    };

    let mut published = Vec::new();
    for _ in 0..BATCHES {
        let sends: Vec<_> = (0..BATCH).map(send).collect();
        for answer in store.append(&sends).await.unwrap() {
            published.extend_from_slice(&event(&answer).body);
            published.push(b'\n');
        }
    }
    store.close().await;
    fs::write(job.report, published).unwrap();
}
