//! The system interface for plugins whose toolchain brings it along: everything is
//! there and nothing is in it. No files, no environment, no arguments, no network;
//! clocks that stand still, randomness that repeats.

use std::time::Duration;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView,
};

use super::CallState;

/// The interfaces that are offered. Sockets and HTTP are not among them.
const OFFERED: [&str; 20] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// The time of every call: 2018-05-01, the date of the API. A real one would make
/// two runs of the same plan differ.
const NOW: Duration = Duration::from_hours(423_648);

/// Standard error that is kept of a call; a write beyond it ends the call.
const STANDARD_ERROR_BYTES: usize = 64 << 10;

/// Random bytes that one request may ask for; the host allocates them.
const RANDOM_BYTES: u64 = 1 << 20;

/// The version of the poll interface that `wasmtime-wasi` defines.
const POLL: &str = "wasi:io/poll@0.2.12";

/// Whether an import is one of WASI's that are offered.
pub(crate) fn is_offered(import: &str) -> bool {
    import
        .split_once('@')
        .is_some_and(|(name, version)| OFFERED.contains(&name) && version.starts_with("0.2."))
}

/// Adds the interfaces to a linker.
pub(crate) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    // Waiting for a timer would happen in the host, where no deadline reaches it.
    linker.allow_shadowing(true);
    let mut poll = linker.instance(POLL)?;
    for function in ["poll", "[method]pollable.block"] {
        poll.func_new(function, |_, _, _, _| {
            Err(wasmtime::Error::msg("a plugin cannot wait"))
        })?;
    }
    Ok(())
}

/// The system of one call, made when it is first used.
#[derive(Default)]
pub(crate) struct Wasi {
    made: Option<(WasiCtx, MemoryOutputPipe)>,
    table: ResourceTable,
}

impl Wasi {
    /// What the plugin wrote to its standard error.
    pub(crate) fn captured_errors(&self) -> String {
        let pipe = self.made.as_ref().map(|(_, pipe)| pipe.contents());
        pipe.map_or_else(String::new, |bytes| {
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, _) = self.wasi.made.get_or_insert_with(empty_context);
        WasiCtxView {
            ctx,
            table: &mut self.wasi.table,
        }
    }
}

fn empty_context() -> (WasiCtx, MemoryOutputPipe) {
    let errors = MemoryOutputPipe::new(STANDARD_ERROR_BYTES);
    let context = WasiCtxBuilder::new()
        .stderr(errors.clone())
        .wall_clock(StoppedClock)
        .monotonic_clock(StoppedClock)
        .secure_random(repeating_randomness())
        .insecure_random(repeating_randomness())
        .insecure_random_seed(0x4c6f_7465)
        .max_random_size(RANDOM_BYTES)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build();
    (context, errors)
}

/// Every byte once, in an order that is not the obvious one.
fn repeating_randomness() -> Deterministic {
    Deterministic::new(
        (0..=u8::MAX)
            .map(|byte| byte.wrapping_mul(167).wrapping_add(13))
            .collect(),
    )
}

struct StoppedClock;

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        NOW
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_reaches_nothing_is_offered() {
        assert!(is_offered("wasi:cli/stderr@0.2.3"));
        assert!(!is_offered("wasi:cli/stderr@0.3.0"));
        assert!(!is_offered("wasi:cli/stderr"));
        assert!(!is_offered("wasi:sockets/tcp@0.2.3"));
        assert!(!is_offered("wasi:http/outgoing-handler@0.2.3"));
    }

    /// A program that reads the clock, and one that waits for an hour.
    const CLOCK_USER: &str = r#"(component
        (import "wasi:io/poll@0.2.0" (instance $poll
            (export "pollable" (type $pollable (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
            (alias outer 1 $pollable (type $outer))
            (export "pollable" (type $pollable (eq $outer)))
            (export "now" (func (result u64)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
        (core func $now (canon lower (func $clock "now")))
        (core func $subscribe (canon lower (func $clock "subscribe-duration")))
        (core func $block (canon lower (func $poll "[method]pollable.block")))
        (core module $program
            (import "" "now" (func $now (result i64)))
            (import "" "subscribe" (func $subscribe (param i64) (result i32)))
            (import "" "block" (func $block (param i32)))
            (func (export "time") (result i64) (call $now))
            (func (export "wait")
                (call $block (call $subscribe (i64.const 3600000000000)))))
        (core instance $running (instantiate $program (with "" (instance
            (export "now" (func $now))
            (export "subscribe" (func $subscribe))
            (export "block" (func $block))))))
        (func (export "time") (result u64) (canon lift (core func $running "time")))
        (func (export "wait") (canon lift (core func $running "wait"))))"#;

    fn call<R>(name: &str) -> Result<R, crate::Problem>
    where
        R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift + 'static,
    {
        let sandbox = super::super::Sandbox::new().unwrap();
        let bytes = wat::parse_str(CLOCK_USER).unwrap();
        let component = wasmtime::component::Component::new(&sandbox.engine, bytes).unwrap();
        let mut linker = Linker::new(&sandbox.engine);
        link(&mut linker).unwrap();
        let call = |store: &mut wasmtime::Store<CallState>| {
            let instance = linker.instantiate(&mut *store, &component)?;
            let function = instance.get_typed_func::<(), R>(&mut *store, name)?;
            function.call(store, ())
        };
        sandbox.run(super::super::Function::Describe, call).result
    }

    #[test]
    fn the_clock_stands_still() {
        assert_eq!(call::<(u64,)>("time").unwrap(), (0,));
    }

    /// It would wait in the host, where the deadline does not reach it.
    #[test]
    fn nobody_waits() {
        let problem = call::<()>("wait").unwrap_err();
        assert!(
            problem.to_string().contains("a plugin cannot wait"),
            "{problem}"
        );
    }
}
