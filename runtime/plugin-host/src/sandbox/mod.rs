//! Engine, limits, deadlines and what an instance may use.

mod limiter;
mod reports;
mod ticker;
mod wasi;

use std::time::{Duration, Instant};

use wasmtime::{Config, Engine, Store, Trap};

use crate::error::Problem;
use limiter::Limiter;
pub use limiter::MEMORY_BYTES;
pub(crate) use reports::Reports;
pub use reports::{Level, Report};
use ticker::Ticker;
pub(crate) use wasi::{Wasi, is_offered as is_wasi_offered, link as link_wasi};

/// How finely deadlines are kept. A call that is stopped runs one tick longer.
const TICK: Duration = Duration::from_millis(10);

/// Data that one call may hand to the host. The largest plan that is accepted has a
/// quarter of this; texts that overlap in the guest's memory must not multiply here.
const HOST_CALL_BYTES: usize = 16 << 20;

/// The stack a plugin may use. Below the 2 MiB of a thread of the blocking pool.
const STACK_BYTES: usize = 512 << 10;

/// A function of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// `describe`
    Describe,
    /// `validate`
    Validate,
    /// `plan`
    Plan,
}

impl Function {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Validate => "validate",
            Self::Plan => "plan",
        }
    }

    /// A user waits for `validate` in an HTTP request; a plan for a large gang may
    /// take longer, and only its job waits.
    fn deadline(self) -> Duration {
        match self {
            Self::Describe | Self::Validate => Duration::from_secs(1),
            Self::Plan => Duration::from_secs(5),
        }
    }

    /// Ticks until the deadline. The first one may come at once, hence one more.
    fn ticks(self) -> u64 {
        let ticks = self.deadline().as_millis() / TICK.as_millis();
        u64::try_from(ticks).unwrap_or(u64::MAX - 1) + 1
    }
}

/// What belongs to one call.
pub(crate) struct CallState {
    pub(crate) reports: Reports,
    pub(crate) wasi: Wasi,
    limiter: Limiter,
}

/// How a call went.
pub(crate) struct Ran<R> {
    pub(crate) result: Result<R, Problem>,
    pub(crate) reports: Vec<Report>,
    /// From the instance's making to its end.
    pub(crate) took: Duration,
    /// All its memories at the end. They never shrink.
    pub(crate) memory_bytes: usize,
}

/// Where instances live.
pub(crate) struct Sandbox {
    pub(crate) engine: Engine,
    ticker: Ticker,
}

impl Sandbox {
    pub(crate) fn new() -> wasmtime::Result<Self> {
        let engine = Engine::new(&config())?;
        let ticker = Ticker::start(&engine, TICK)?;
        Ok(Self { engine, ticker })
    }

    /// Compiled code that asks of the processor only what all of its kind have.
    pub(crate) fn compile_for_any_processor(bytes: &[u8]) -> wasmtime::Result<Vec<u8>> {
        let mut config = config();
        config.target(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH))?;
        Engine::new(&config)?.precompile_component(bytes)
    }

    /// Runs one call in a store of its own, under all limits.
    pub(crate) fn run<R>(
        &self,
        function: Function,
        call: impl FnOnce(&mut Store<CallState>) -> wasmtime::Result<R>,
    ) -> Ran<R> {
        let mut store = self.store(function);
        let begin = Instant::now();
        let ticking = self.ticker.begin_call();
        let result = call(&mut store);
        drop(ticking);
        let took = begin.elapsed();
        let state = store.into_data();
        let errors = state.wasi.captured_errors();
        let exceeded = state.limiter.exceeded();
        let reports = state.reports.into_list(&errors);
        Ran {
            result: result.map_err(|error| problem(function, &error, exceeded, &reports)),
            reports,
            took,
            memory_bytes: state.limiter.memory_bytes(),
        }
    }

    fn store(&self, function: Function) -> Store<CallState> {
        let state = CallState {
            reports: Reports::default(),
            wasi: Wasi::default(),
            limiter: Limiter::default(),
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(function.ticks());
        store.set_hostcall_fuel(HOST_CALL_BYTES);
        store
    }
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Equal arguments must give equal results, on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(STACK_BYTES)
        // Nothing reads these: smaller code, in memory and on disk.
        .generate_address_map(false)
        .native_unwind_info(false)
        // A compiler's threads would stay for the daemon's life; plugins compile once.
        .parallel_compilation(false);
    config
}

fn problem(
    function: Function,
    error: &wasmtime::Error,
    exceeded: bool,
    reports: &[Report],
) -> Problem {
    let name = function.name();
    if exceeded {
        return Problem::OutOfMemory {
            function: name,
            limit_mib: limiter::MEMORY_BYTES >> 20,
        };
    }
    if matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) {
        return Problem::PastDeadline {
            function: name,
            limit: function.deadline(),
        };
    }
    Problem::Trapped {
        function: name,
        reason: format!("{error:#}"),
        panic: reports::panic_text(reports),
        reports: reports::last_words(reports),
    }
}
