//! Who takes part: channels, users, senders and listeners.

use std::{sync::Arc, time::Duration};

use chat_domain::ChannelId;
use chat_test_support::{http_api::HttpApi, system::TestUser};

use super::Script;
use crate::{
    history::ActClock,
    listener::{Listener, Progress},
    load::{Sender, supplied},
    world::{INSTANCES, MESSAGE_SERVERS, World},
};

/// Of ten listeners or senders, so many use the supplied client. As many listeners take breaks.
const OF_TEN: usize = 2;

/// Channels that everybody may hear, and users who all may send to them.
pub(super) struct Cast {
    message_servers: Vec<String>,
    instances: Vec<String>,
    channels: Vec<ChannelId>,
    listening_user: TestUser,
    sending_users: Vec<TestUser>,
}

impl Cast {
    /// Makes everybody known to a running system.
    pub(super) async fn enter(world: &World, script: &Script) -> Self {
        let listening_user = world.system.user("chaos").await;
        let mut sending_users = Vec::new();
        for number in 0..script.senders {
            sending_users.push(world.system.user(&format!("chaos-{number}")).await);
        }
        let members: Vec<_> = sending_users.iter().map(|user| user.id).collect();
        let mut channels = Vec::new();
        for number in 0..script.channels {
            let name = format!("chaos {number}");
            channels.push(listening_user.api.create_channel("PUBLIC", &name, &members).await);
        }
        Self {
            message_servers: (0..MESSAGE_SERVERS).map(|index| world.system.http_url(index)).collect(),
            instances: (0..INSTANCES).map(|index| world.system.websocket_url(index)).collect(),
            channels,
            listening_user,
            sending_users,
        }
    }

    pub(super) fn listeners(&self, script: &Script, clock: ActClock) -> impl Iterator<Item = Listener> {
        (0..script.listeners).map(move |number| {
            // Everyone begins elsewhere, so that all channels and all instances are listened to alike.
            let open = (0..script.open_channels).map(|step| (number + step * step) % self.channels.len());
            let mut open: Vec<_> = open.collect();
            open.sort_unstable();
            open.dedup();
            let mut urls = self.instances.clone();
            if !script.crowded {
                urls.rotate_left(number % INSTANCES);
            }
            Listener {
                name: format!("listener-{number}"),
                token: self.listening_user.token.clone(),
                urls,
                progress: Arc::new(Progress::new(open.iter().copied())),
                channels: open.into_iter().map(|index| (index, self.channels[index])).collect(),
                takes_breaks: number % 10 >= 10 - OF_TEN,
                crowds: script.crowded,
                supplied: is_supplied(number),
                seed: script.seed.wrapping_add(number as u64),
                clock,
            }
        })
    }

    pub(super) fn senders(&self, script: &Script, clock: ActClock) -> impl Iterator<Item = Sender> {
        let interval = Duration::from_secs_f64(script.senders as f64 / f64::from(script.rate));
        self.sending_users.iter().enumerate().map(move |(number, user)| {
            let servers: Vec<HttpApi> = self.message_servers.iter().map(|url| user.api_at(url.clone())).collect();
            let own_server = &self.message_servers[number % MESSAGE_SERVERS];
            Sender {
                servers,
                supplied: is_supplied(number).then(|| supplied(own_server, &user.token)),
                channels: self.channels.clone(),
                interval,
                seed: script.seed.wrapping_mul(31).wrapping_add(number as u64),
                clock,
            }
        })
    }
}

const fn is_supplied(number: usize) -> bool {
    number % 10 < OF_TEN
}
