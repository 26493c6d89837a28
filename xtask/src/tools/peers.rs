//! What the bench measures beside the chat.

use std::fs;
use std::path::{Path, PathBuf};

use super::node::{node, npm};
use super::{found_or_installed, search_path};
use crate::outcome::{Outcome, While};
use crate::packages::{Packages, Policy};
use crate::shell::{output, program_in, root, target};
use crate::ui::say;

/// The programs of Socket.IO with all that they need.
pub(crate) struct SocketIo {
    pub(crate) node: PathBuf,
    pub(crate) folder: PathBuf,
}

/// Socket.IO, installed into the target folder in the versions that are locked.
pub(crate) fn socketio(policy: Policy) -> Outcome<SocketIo> {
    const LOCK: &str = "package-lock.json";
    let node = node(policy)?;
    let source = root().join("crates/chat-bench/peers/socketio");
    let folder = target().join("bench/peers/socketio");
    fs::create_dir_all(&folder).while_doing("the folder of Socket.IO")?;
    let is_installed = same(&source.join(LOCK), &folder.join(LOCK)) && folder.join("node_modules/socket.io").is_dir();
    for file in ["package.json", "instance.js", "publisher.js"] {
        fs::copy(source.join(file), folder.join(file)).while_doing(format!("copying {file}"))?;
    }
    if !is_installed {
        say(format!("installing Socket.IO with npm into {}", folder.display()));
        fs::copy(source.join(LOCK), folder.join(LOCK)).while_doing(format!("copying {LOCK}"))?;
        let installed =
            output(npm(&node)?.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder));
        if installed.is_err() {
            // Not taken for installed the next time.
            let _ = fs::remove_file(folder.join(LOCK));
        }
        installed?;
    }
    Ok(SocketIo { node, folder })
}

/// nginx and its module nchan.
pub(crate) fn nchan(policy: Policy) -> Outcome<(PathBuf, PathBuf)> {
    const MODULE: &str = "ngx_nchan_module.so";
    let packages =
        Packages { apt: &["nginx", "libnginx-mod-nchan"], dnf: &["nginx", "nginx-mod-nchan"], brew: &["nchan"] };
    let folders = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"];
    let module = || folders.iter().map(|folder| Path::new(folder).join(MODULE)).find(|file| file.is_file());
    let both = || Some((program_in(&["nginx"], &search_path())?, module()?));
    found_or_installed("nginx with nchan", both, &packages, policy)
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((fs::read(one), fs::read(other)), (Ok(one), Ok(other)) if one == other)
}
