//! How much memory a call may use.

use wasmtime::ResourceLimiter;

/// All memories of a call together. A plan for 1,000 nodes of 8 GPUs takes a quarter.
pub const MEMORY_BYTES: usize = 32 << 20;

/// All tables of a call together: eight bytes each on the host's side.
const TABLE_ELEMENTS: usize = 1 << 18;

/// Core modules in one component. Rust, C and JavaScript need up to 16, Python 17.
const INSTANCES: usize = 64;

/// Counts what a call's instances hold, and remembers that they wanted more.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    memory_bytes: usize,
    table_elements: usize,
    exceeded: bool,
}

impl Limiter {
    /// What all memories together have.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Whether growth was refused.
    pub(crate) fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Growth beyond the limit ends the call: the error then says why, where a
    /// plugin that finds no memory would only abort.
    fn refuse(&mut self, what: &str) -> wasmtime::Error {
        self.exceeded = true;
        wasmtime::Error::msg(format!("the {what} limit was reached"))
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current));
        if total > MEMORY_BYTES {
            return Err(self.refuse("memory"));
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS {
            return Err(self.refuse("table"));
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        INSTANCES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = Limiter::default();
        let half = MEMORY_BYTES / 2;
        assert!(limiter.memory_growing(0, half, None).unwrap());
        assert!(limiter.memory_growing(0, half, None).unwrap());
        assert!(!limiter.exceeded());
        assert!(limiter.memory_growing(half, half + 1, None).is_err());
        assert!(limiter.exceeded());
    }

    #[test]
    fn tables_are_limited_too() {
        let mut limiter = Limiter::default();
        assert!(limiter.table_growing(0, usize::MAX, None).is_err());
        assert!(limiter.exceeded());
    }
}
