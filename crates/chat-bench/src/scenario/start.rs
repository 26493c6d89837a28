//! P9: from the start of a process to its readiness, beside running neighbours.

use std::time::Instant;

use crate::failure::Failure;
use crate::figure::{Bound, Figure};
use crate::quantity::{Quantity, median};
use crate::world::{Bench, Setup, Storage, World};

const MOST: Quantity = Quantity::Milliseconds(150.0);
const STARTS: usize = 7;

pub(super) async fn run(bench: &mut Bench) -> Result<Vec<Figure>, Failure> {
    bench.cores.share_all()?;
    let mut figures = Vec::new();
    for storage in Storage::BOTH {
        eprintln!("  {}", storage.name());
        let mut world = World::start(bench, Setup::on(storage)).await?;
        for what in ["message server", "instance"] {
            let mut times = Vec::new();
            for _ in 0..STARTS {
                let server = match what {
                    "instance" => world.system.websocket_server(0),
                    _ => world.system.message_server(0),
                };
                server.kill();
                let began = Instant::now();
                server.restart().await;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            let time = median(times).ok_or_else(|| Failure::new("nothing was started"))?;
            figures.push(
                Figure::new(format!("start to ready, {what}, {}", storage.name()), Quantity::Milliseconds(time))
                    .target("P9", Bound::AtMost(MOST))
                    .note(format!(
                        "median of {STARTS}, until /readyz says so; it is asked every 5 ms, so it may be sooner"
                    )),
            );
        }
    }
    Ok(figures)
}
