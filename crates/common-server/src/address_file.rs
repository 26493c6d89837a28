//! Tells whoever started the process which ports the kernel chose.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
};

/// Writes `{"name":"address",…}` to the file. A reader sees the whole file or none of it.
///
/// # Errors
/// The file cannot be written beside its final place or moved there.
pub fn write_address_file(path: &Path, addresses: &[(&str, SocketAddr)]) -> io::Result<()> {
    let addresses: BTreeMap<_, _> = addresses.iter().map(|(name, address)| (name, address.to_string())).collect();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));

    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, &addresses)?;
    file.write_all(b"\n")?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("addresses.json");
        std::fs::write(&path, "old").unwrap();

        let addresses = [("http", "127.0.0.1:34567".parse().unwrap()), ("management", "[::1]:34568".parse().unwrap())];
        write_address_file(&path, &addresses).unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"http\":\"127.0.0.1:34567\",\"management\":\"[::1]:34568\"}\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_address_file(&folder.path().join("missing/file"), &[]).is_err());
    }
}
