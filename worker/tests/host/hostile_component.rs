//! Components that misbehave, as WebAssembly text. One template holds what the contract demands; a case fills in
//! the body of `run`, and imports where it has any.

/// What differs between the components.
#[derive(Clone, Copy, Default)]
pub struct Guest<'a> {
    /// The one class.
    pub class: &'a str,
    /// The body of `run`, which leaves the address of its result.
    pub run: &'a str,
    /// Put before the result of `classes`.
    pub classes: &'a str,
    /// Whether the component imports `acme:clock/wall`, which no worker has, as `$now`.
    pub imports_clock: bool,
    /// Whether the component imports the log, as `$log`: level, address and length of the line.
    pub imports_log: bool,
}

/// What an import adds to the template.
#[derive(Default)]
struct Extra {
    import: &'static str,
    lower: &'static str,
    core_import: &'static str,
    with: &'static str,
}

const CLOCK: Extra = Extra {
    import: r#"(import "acme:clock/wall@1.0.0" (instance $clock (export "now" (func (result u64)))))"#,
    lower: r#"(core func $now (canon lower (func $clock "now")))"#,
    core_import: r#"(import "clock" "now" (func $now (result i64)))"#,
    with: r#"(with "clock" (instance (export "now" (func $now))))"#,
};

const LOG: Extra = Extra {
    import: r#"
  (import "marionette:operator/types@1.0.0" (instance $types
    (type $level' (enum "debug" "info" "warn" "error")) (export "level" (type (eq $level')))))
  (alias export $types "level" (type $level))
  (import "marionette:operator/logging@1.0.0" (instance $logging
    (alias outer 1 $level (type $level')) (export "level" (type $level (eq $level')))
    (export "log" (func (param "level" $level) (param "message" string)))))"#,
    lower: r#"(core func $log (canon lower (func $logging "log") (memory (core memory $memory "memory"))))"#,
    core_import: r#"(import "log" "log" (func $log (param i32 i32 i32)))"#,
    with: r#"(with "log" (instance (export "log" (func $log))))"#,
};

/// The bytes of the component.
pub fn component(guest: Guest<'_>) -> Vec<u8> {
    let when = |wanted: bool, import: Extra| if wanted { import } else { Extra::default() };
    let imports = [
        when(guest.imports_clock, CLOCK),
        when(guest.imports_log, LOG),
    ];
    let all = |part: fn(&Extra) -> &'static str| imports.each_ref().map(part).join("\n");
    let text = TEMPLATE
        .replace("{import}", &all(|import| import.import))
        .replace("{lower}", &all(|import| import.lower))
        .replace("{core import}", &all(|import| import.core_import))
        .replace("{with}", &all(|import| import.with))
        .replace("{class}", guest.class)
        .replace("{class length}", &guest.class.len().to_string())
        .replace("{classes}", guest.classes)
        .replace("{run}", guest.run);
    wat::parse_str(text).expect("the component is well-formed")
}

/// Layout of the result of `run`: tag at 0 (1: error), payload at 8; a list is address and length; an error has
/// its tag at 8 (2: failed) and a text at 16. Item: key's tag at 0, value's address at 12 and length at 16.
const TEMPLATE: &str = r#"
(component
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
  (type $blob-error' (variant (case "not-granted") (case "not-found") (case "invalid-url" string)
    (case "invalid-range" u64) (case "unavailable" string) (case "cancelled") (case "limit-exceeded" string)
    (case "other" string)))
  (export $blob-error "blob-error" (type $blob-error'))
  (type $blob-failure' (record (field "url" string) (field "error" $blob-error)))
  (export $blob-failure "blob-failure" (type $blob-failure'))
  (type $operator-error' (variant (case "unknown-class") (case "invalid-request" string) (case "failed" string)
    (case "storage" $storage-failure) (case "blob" $blob-failure)))
  (export $operator-error "operator-error" (type $operator-error'))
  {import}
  (core module $pages (memory (export "memory") 1))
  (core instance $memory (instantiate $pages))
  {lower}
  (core module $code
    (import "memory" "memory" (memory 1))
    {core import}
    (global $next (mut i32) (i32.const 4096))
    (data (i32.const 1024) "{class}")
    (data (i32.const 2048) "I am unwell")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func $deeper (param i64 i64 i64 i64) (result i64)
      (i64.add (local.get 0) (call $deeper (local.get 1) (local.get 2) (local.get 3) (local.get 0))))
    (func $classes (export "classes") (result i32)
      {classes}
      (i32.store (i32.const 512) (i32.const 520))
      (i32.store (i32.const 516) (i32.const 1))
      (i32.store (i32.const 520) (i32.const 1024))
      (i32.store (i32.const 524) (i32.const {class length}))
      (i32.const 512))
    (func $run (export "run") (param i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (local $i i32)
      {run}))
  (core instance $code (instantiate $code (with "memory" (instance $memory)) {with}))
  (func $classes (result (list string))
    (canon lift (core func $code "classes") (memory (core memory $memory "memory")) (realloc (core func $code "realloc"))))
  (export "classes" (func $classes))
  (func $run (param "class" string) (param "request" $request) (result (result (list $item) (error $operator-error)))
    (canon lift (core func $code "run") (memory (core memory $memory "memory")) (realloc (core func $code "realloc"))))
  (export "run" (func $run)))
"#;

/// Returns no items.
pub const NOTHING: &str = "(i32.const 256)";
/// Never returns.
pub const LOOP: &str = "(loop $again (br $again)) (unreachable)";
/// Stops at once.
pub const TRAP: &str = "(unreachable)";
/// Asks for memory until it is refused, then gives up.
pub const MEMORY_HOG: &str = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) \
     (unreachable)";
/// Calls itself for ever.
pub const STACK_OVERFLOW: &str =
    "(drop (call $deeper (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4))) (i32.const 256)";
/// Returns an error of its own.
pub const ERROR: &str = "(i32.store (i32.const 256) (i32.const 1)) (i32.store (i32.const 264) (i32.const 2)) \
     (i32.store (i32.const 272) (i32.const 2048)) (i32.store (i32.const 276) (i32.const 11)) (i32.const 256)";
/// Returns one item of 17 MiB.
pub const BIG_OUTPUT: &str = "(drop (memory.grow (i32.const 300))) \
     (i32.store (i32.const 264) (i32.const 3000)) (i32.store (i32.const 268) (i32.const 1)) \
     (i32.store (i32.const 3016) (i32.const 17825792)) (i32.const 256)";
/// Returns 100,000 items of 1 MiB each, all the same bytes: 100 GiB for whoever copies them.
pub const AMPLIFIED_OUTPUT: &str = "(drop (memory.grow (i32.const 64))) \
     (i32.store (i32.const 264) (i32.const 65536)) (i32.store (i32.const 268) (i32.const 100000)) \
     (loop $again \
       (i32.store (i32.add (i32.const 65552) (i32.mul (local.get $i) (i32.const 20))) (i32.const 1048576)) \
       (local.set $i (i32.add (local.get $i) (i32.const 1))) \
       (br_if $again (i32.lt_u (local.get $i) (i32.const 100000)))) \
     (i32.const 256)";
/// Returns items from where it has no memory.
pub const WILD_POINTER: &str = "(i32.store (i32.const 264) (i32.const -64)) (i32.store (i32.const 268) (i32.const 1)) \
     (i32.const 256)";
/// Fails unless its memory is fresh.
pub const STAINS_MEMORY: &str = "(if (i32.load (i32.const 800)) (then (unreachable))) \
     (i32.store (i32.const 800) (i32.const 1)) (i32.const 256)";
/// Calls what no worker has.
pub const UNKNOWN_IMPORT: &str = "(drop (call $now)) (i32.const 256)";
/// Returns once, then never again, as far as its memory tells.
pub const RETURNS_ONCE: &str = "(if (i32.load (i32.const 800)) (then (loop $again (br $again)))) \
     (i32.store (i32.const 800) (i32.const 1)) (i32.const 256)";
/// Wants all memory when it runs for the second time in the same, and does not mind when it gets none.
pub const GROWS_LATER: &str = "(if (i32.load (i32.const 800)) (then \
       (loop $again (br_if $again (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))))) \
     (i32.store (i32.const 800) (i32.const 1)) \
     (if (i32.gt_u (memory.size) (i32.const 1)) (then (unreachable))) (i32.const 256)";
/// Takes some 20 ms, and fails when another does so in the same memory.
pub const MINDS_COMPANY: &str = "(if (i32.load (i32.const 800)) (then (unreachable))) \
     (i32.store (i32.const 800) (i32.const 1)) \
     (loop $again \
       (local.set $i (i32.add (local.get $i) (i32.const 1))) \
       (br_if $again (i32.lt_u (local.get $i) (i32.const 20000000)))) \
     (i32.store (i32.const 800) (i32.const 0)) (i32.const 256)";
/// Logs for ever.
pub const LOG_FLOOD: &str = "(loop $again (call $log (i32.const 3) (i32.const 0) (i32.const 5000)) (br $again)) \
     (unreachable)";
