//! A directory with a component, and what a command says to a terminal.
#![allow(dead_code, reason = "no test uses all of them")]

use std::path::{Path, PathBuf};

use operator_tool::unusable::{Terminal, Unusable, Verdict};

/// The operators that ship.
pub const STANDARD: &[u8] = include_bytes!("../../../std/std.wasm");

/// With these files.
pub fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

pub fn file(directory: &tempfile::TempDir, name: &str) -> PathBuf {
    directory.path().join(name)
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub struct Said {
    pub verdict: Result<Verdict, Unusable>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The message and hint of a command that could not begin.
    #[track_caller]
    pub fn refusal(&self) -> String {
        let unusable = self.verdict.as_ref().unwrap_err();
        format!(
            "{}\n{}",
            unusable.message,
            unusable.hint.as_deref().unwrap_or_default()
        )
    }
}

pub async fn said(
    command: impl AsyncFnOnce(&mut Terminal<'_>) -> Result<Verdict, Unusable>,
) -> Said {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let verdict = command(&mut Terminal {
        out: &mut out,
        err: &mut err,
        colour: false,
    })
    .await;
    Said {
        verdict,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

pub async fn test(directory: &Path, only: Option<&str>) -> Said {
    said(async |terminal| operator_tool::test::test(directory, only, terminal).await).await
}

/// A component with the class `Sizes`, which logs "looking" as a warning and asks for the size of the blob
/// `file:///a`; without an answer it traps.
pub fn sizes() -> Vec<u8> {
    wat::parse_str(SIZES).unwrap()
}

const SIZES: &str = r#"
(component
  (import "marionette:operator/logging@1.0.0" (instance $logging
    (type (enum "debug" "info" "warn" "error"))
    (export "level" (type (eq 0)))
    (export "log" (func (param "level" 1) (param "message" string)))))
  (import "marionette:operator/blob@1.0.0" (instance $blob
    (type (variant (case "not-granted") (case "not-found") (case "invalid-url" string) (case "invalid-range" u64)
      (case "unavailable" string) (case "cancelled") (case "limit-exceeded" string) (case "other" string)))
    (export "blob-error" (type (eq 0)))
    (export "size" (func (param "url" string) (result (result u64 (error 1)))))))
  (type $item' (record (field "key" (option string)) (field "value" (list u8))))
  (export $item "item" (type $item'))
  (type $request' (record (field "run" u64) (field "stage" u32) (field "task" u32) (field "attempt" u32)
    (field "input" string) (field "options" (list (tuple string string))) (field "items" (list $item))))
  (export $request "request" (type $request'))
  (type $storage-error' (variant (case "not-found") (case "discarded") (case "invalid-id" string)
    (case "too-large" u64) (case "overloaded") (case "unavailable" string) (case "timeout") (case "cancelled")
    (case "limit-exceeded" string) (case "other" string)))
  (export $storage-error "storage-error" (type $storage-error'))
  (type $storage-failure' (record (field "id" string) (field "error" $storage-error)))
  (export $storage-failure "storage-failure" (type $storage-failure'))
  (alias export $blob "blob-error" (type $blob-error))
  (type $blob-failure' (record (field "url" string) (field "error" $blob-error)))
  (export $blob-failure "blob-failure" (type $blob-failure'))
  (type $operator-error' (variant (case "unknown-class") (case "invalid-request" string) (case "failed" string)
    (case "storage" $storage-failure) (case "blob" $blob-failure)))
  (export $operator-error "operator-error" (type $operator-error'))
  (core module $memory
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $memory (instantiate $memory))
  (core func $log (canon lower (func $logging "log") (memory (core memory $memory "memory"))))
  (core func $size (canon lower (func $blob "size")
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
  (core module $code
    (import "memory" "memory" (memory 1))
    (import "host" "log" (func $log (param i32 i32 i32)))
    (import "host" "size" (func $size (param i32 i32 i32)))
    (data (i32.const 1024) "Sizes")
    (data (i32.const 1032) "looking")
    (data (i32.const 1040) "file:///a")
    (func (export "classes") (result i32)
      (i32.store (i32.const 512) (i32.const 520))
      (i32.store (i32.const 516) (i32.const 1))
      (i32.store (i32.const 520) (i32.const 1024))
      (i32.store (i32.const 524) (i32.const 5))
      (i32.const 512))
    (func (export "run") (param i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (call $log (i32.const 2) (i32.const 1032) (i32.const 7))
      (call $size (i32.const 1040) (i32.const 9) (i32.const 768))
      (if (i32.load8_u (i32.const 768)) (then (unreachable)))
      (i32.const 256)))
  (core instance $code (instantiate $code
    (with "memory" (instance $memory))
    (with "host" (instance (export "log" (func $log)) (export "size" (func $size))))))
  (func $classes (result (list string))
    (canon lift (core func $code "classes") (memory (core memory $memory "memory"))
      (realloc (core func $memory "realloc"))))
  (export "classes" (func $classes))
  (func $run (param "class" string) (param "request" $request) (result (result (list $item) (error $operator-error)))
    (canon lift (core func $code "run") (memory (core memory $memory "memory"))
      (realloc (core func $memory "realloc"))))
  (export "run" (func $run)))
"#;
