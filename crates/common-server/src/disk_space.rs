//! Is there space left where the process works?

use std::{io, path::Path, sync::Arc};

use futures_util::future::BoxFuture;
use rustix::{fs::statvfs, io::Errno};
use tokio::sync::Semaphore;

use crate::ComponentHealth;

/// With less free space the component is down.
const THRESHOLD: u64 = 10 * 1024 * 1024;

/// A check of the disk that the working folder is on.
pub(crate) fn check() -> impl Fn() -> BoxFuture<'static, ComponentHealth> {
    // A network disk that hangs holds one thread, however often somebody asks.
    let one = Arc::new(Semaphore::new(1));
    move || {
        let turn = one.clone().try_acquire_owned();
        Box::pin(async move {
            let Ok(turn) = turn else { return ComponentHealth::down("the last look at the disk has not ended") };
            let look = tokio::task::spawn_blocking(move || {
                let health = look();
                drop(turn);
                health
            });
            look.await.unwrap_or_else(|_| ComponentHealth::down("the disk cannot be looked at"))
        })
    }
}

fn look() -> ComponentHealth {
    match std::env::current_dir() {
        Ok(folder) => space(&folder, THRESHOLD),
        Err(error) => ComponentHealth::down(format!("no working folder: {error}")).detail("exists", false),
    }
}

fn space(folder: &Path, threshold: u64) -> ComponentHealth {
    let (health, exists) = match statvfs(folder) {
        Ok(disk) => {
            let (total, free) =
                (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize));
            let health =
                if free < threshold { ComponentHealth::down("too little space") } else { ComponentHealth::up() };
            (health.detail("total", total).detail("free", free), true)
        }
        Err(error) => (ComponentHealth::down(io::Error::from(error).to_string()), error != Errno::NOENT),
    };
    health.detail("threshold", threshold).detail("path", folder.to_string_lossy()).detail("exists", exists)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(folder: &Path, threshold: u64) -> Value {
        json!(space(folder, threshold))
    }

    #[test]
    fn a_full_disk_is_down() {
        let folder = tempfile::tempdir().unwrap();
        let shown = |threshold| shown(folder.path(), threshold);
        assert_eq!(shown(1)["status"], "UP");
        assert_eq!(shown(u64::MAX)["status"], "DOWN");
        let details = &shown(1)["details"];
        assert!(details["free"].as_u64().unwrap() <= details["total"].as_u64().unwrap(), "{details}");
        assert_eq!(details["path"], folder.path().to_string_lossy().as_ref());
        assert_eq!(details["exists"], true);
    }

    #[test]
    fn a_folder_that_is_gone_is_down() {
        let shown = shown(Path::new("/no/such/folder"), 1);
        assert_eq!((&shown["status"], &shown["details"]["exists"]), (&json!("DOWN"), &json!(false)));
    }

    #[tokio::test]
    async fn the_working_folder_is_looked_at_one_at_a_time() {
        let check = check();
        let (first, second) = (check(), check());
        assert_eq!(json!(second.await)["status"], "DOWN", "the first is still at it");
        assert!(json!(first.await)["details"]["total"].as_u64().unwrap() > 0);
        assert!(json!(check().await)["details"]["total"].as_u64().unwrap() > 0);
    }
}
