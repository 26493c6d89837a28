//! The secret that development tokens are signed with: made once, kept in the data folder, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::outcome::{Outcome, While};

/// Where the secret of this data folder is.
pub(crate) fn file(data: &Path) -> PathBuf {
    data.join("secret")
}

/// The secret of this data folder, made when there is none.
pub(crate) fn read_or_make(data: &Path) -> Outcome<String> {
    let file = file(data);
    if let Ok(secret) = fs::read_to_string(&file) {
        return Ok(secret.trim_end().to_owned());
    }
    let mut bytes = [0; 32];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)).while_doing("making a secret")?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    opened.and_then(|mut opened| writeln!(opened, "{secret}")).while_doing(file.display())?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_only() {
        let data = std::env::temp_dir().join(format!("xtask-secret-{}", std::process::id()));
        fs::create_dir_all(&data).unwrap();
        let (first, second) = (read_or_make(&data).unwrap(), read_or_make(&data).unwrap());
        let mode = file(&data).metadata().unwrap().permissions().mode();
        fs::remove_dir_all(&data).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.len(), 64);
        assert_eq!(mode & 0o777, 0o600);
    }
}
