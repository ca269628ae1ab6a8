//! Compiled components on disk, so that a component is compiled once for each machine and not at each start.
//!
//! Promises: whatever is wrong with the cache or with a file in it costs a compilation, never an error; several workers
//! may use one directory at once; it holds at most [`CODE_CACHE_BYTES_MAX`], and what was not used for longest goes first.
//!
//! Relies on: a directory that only this user can write, which it creates so and otherwise does not use.

use std::fs::{DirBuilder, Metadata};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use common::types::ComponentHash;
use wasmtime::Engine;
use wasmtime::component::Component;
use xxhash_rust::xxh3::Xxh3Default;

use super::artifact::{self, Key};
use crate::host::limits::CODE_CACHE_BYTES_MAX;

/// Numbers the files that this process writes.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Where the components of a host came from, counted from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeCacheUse {
    /// Loaded from the cache.
    pub loaded: u64,
    /// Compiled, because the cache had nothing usable.
    pub compiled: u64,
}

pub(super) struct CodeCache {
    /// None: off.
    directory: Option<PathBuf>,
    engine: u64,
    loaded: AtomicU64,
    compiled: AtomicU64,
}

impl CodeCache {
    /// A directory that cannot be used is said in the log.
    pub(super) fn open(engine: &Engine, directory: Option<&Path>) -> Self {
        let mut hasher = Xxh3Default::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let usable = |directory: &&Path| match create(directory) {
            Ok(()) => true,
            Err(error) => {
                let directory = directory.display();
                tracing::warn!("compiled operators are not kept in {directory}: {error}");
                false
            }
        };
        Self {
            directory: directory.filter(usable).map(Path::to_owned),
            engine: hasher.finish(),
            loaded: AtomicU64::new(0),
            compiled: AtomicU64::new(0),
        }
    }

    /// The component of these bytes, ready to run: from the cache, or compiled and kept there. Takes as long as it takes.
    pub(super) fn component(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        let Some(directory) = &self.directory else {
            return self.compile(engine, bytes);
        };
        let key = Key {
            component: ComponentHash::of(bytes),
            engine: self.engine,
        };
        let path = directory.join(key.file_name());
        match artifact::read(engine, &key, &path) {
            Ok(component) => {
                self.loaded.fetch_add(1, Ordering::Relaxed);
                return Ok(component);
            }
            Err(reason) => tracing::debug!("compiling: {}: {reason}", path.display()),
        }
        let component = self.compile(engine, bytes)?;
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let partial = directory.join(format!("{}-{number}.partial", std::process::id()));
        let kept = artifact::write(&component, &key, &path, &partial).and_then(|()| {
            trim(directory, CODE_CACHE_BYTES_MAX).map_err(|error| error.to_string())
        });
        if let Err(reason) = kept {
            tracing::debug!("{} is not kept: {reason}", path.display());
        }
        Ok(component)
    }

    pub(super) fn usage(&self) -> CodeCacheUse {
        CodeCacheUse {
            loaded: self.loaded.load(Ordering::Relaxed),
            compiled: self.compiled.load(Ordering::Relaxed),
        }
    }

    fn compile(&self, engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
        let component = Component::from_binary(engine, bytes)?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        Ok(component)
    }
}

/// Where compiled operators are kept when nothing else is said. None without a home.
pub fn default_code_cache() -> Option<PathBuf> {
    Some(user_cache()?.join("operators"))
}

/// Marionette's part of what a user's programs keep and may lose: below `$XDG_CACHE_HOME`, or `~/.cache`. None without
/// a home.
pub fn user_cache() -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let caches =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("marionette"))
}

fn create(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let metadata = std::fs::metadata(directory)?;
    if metadata.is_dir() && artifact::is_ours_alone(&metadata) {
        Ok(())
    } else {
        Err(io::Error::other("others can write to it"))
    }
}

/// Removes what was not used for longest until the rest is small enough. Files of an interrupted write count, too.
fn trim(directory: &Path, bytes_max: u64) -> io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // Another worker may have removed it meanwhile.
        if let Some(metadata) = entry.metadata().ok().filter(Metadata::is_file) {
            files.push((metadata.modified()?, entry.path(), metadata.len()));
        }
    }
    let mut bytes: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
    files.sort();
    for (_, path, freed) in files {
        if bytes <= bytes_max {
            break;
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => bytes -= freed,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use wasmtime::Config;

    use super::*;

    const LOADED: CodeCacheUse = CodeCacheUse {
        loaded: 1,
        compiled: 0,
    };
    const COMPILED: CodeCacheUse = CodeCacheUse {
        loaded: 0,
        compiled: 1,
    };

    fn component(engine: &Engine, directory: &Path) -> CodeCacheUse {
        let cache = CodeCache::open(engine, Some(directory));
        let bytes = wat::parse_str("(component (core module (func)))").unwrap();
        cache.component(engine, &bytes).unwrap();
        cache.usage()
    }

    fn only_file(directory: &Path) -> PathBuf {
        let files: Vec<PathBuf> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    #[test]
    fn what_was_compiled_once_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        assert_eq!(component(&Engine::default(), &path), COMPILED);
        assert_eq!(component(&Engine::default(), &path), LOADED);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_file_that_is_damaged_anywhere_is_compiled_anew_and_then_whole_again() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        component(&engine, directory.path());
        let file = only_file(directory.path());
        let whole = fs::read(&file).unwrap();
        for place in (0..whole.len()).step_by(whole.len() / 16) {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            fs::write(&file, damaged).unwrap();
            assert_eq!(component(&engine, directory.path()), COMPILED, "{place}");
            fs::write(&file, &whole[..place]).unwrap();
            assert_eq!(component(&engine, directory.path()), COMPILED, "{place}");
            assert_eq!(component(&engine, directory.path()), LOADED, "{place}");
        }
    }

    #[test]
    fn another_configuration_has_files_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new();
        config.epoch_interruption(true);
        let other = Engine::new(&config).unwrap();
        assert_eq!(component(&Engine::default(), directory.path()), COMPILED);
        let file = only_file(directory.path());
        assert_eq!(component(&other, directory.path()), COMPILED);
        for entry in fs::read_dir(directory.path()).unwrap() {
            // Even under the name that is looked for.
            fs::copy(&file, entry.unwrap().path()).ok();
        }
        assert_eq!(component(&other, directory.path()), COMPILED);
    }

    #[test]
    fn what_others_can_write_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        component(&engine, directory.path());
        let file = only_file(directory.path());
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(component(&engine, directory.path()), COMPILED);
        assert_eq!(component(&engine, directory.path()), LOADED);
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(component(&engine, directory.path()), COMPILED);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        for (age, name) in ["new", "old", "oldest"].into_iter().enumerate() {
            let path = directory.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(age as u64);
            File::open(&path).unwrap().set_modified(used).unwrap();
        }
        trim(directory.path(), 300).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
        trim(directory.path(), 199).unwrap();
        assert!(only_file(directory.path()).ends_with("new"));
    }

    #[test]
    fn several_hosts_use_one_directory_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::thread::scope(|scope| {
            let hosts: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| component(&Engine::default(), path)))
                .collect();
            for host in hosts {
                let used = host.join().unwrap();
                assert_eq!(used.loaded + used.compiled, 1);
            }
        });
        only_file(path);
        assert_eq!(component(&Engine::default(), path), LOADED);
    }
}
