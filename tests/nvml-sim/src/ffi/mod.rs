//! The exported functions.
//!
//! They are written as safe functions of arguments that know how to be written to ([`Out`],
//! [`Text`], [`Name`]); the `nvml!` macro makes the C functions of them. A function that is not
//! here is absent, as from an old driver.
//!
//! * `system` — the library itself, the driver, handles.
//! * `identity` — what a GPU is and where.
//! * `usage` — memory, utilisation, power, heat, clocks.
//! * `health` — errors of the memory, retired pages, remapped rows.
//! * `fields` — the same and more by numbers.
//! * `running` — processes and accounting.
//! * `topology` — neighbours, processors, memory nodes.
//! * `nvlink` — links and their errors.
//! * `mig` — instances.
//! * `events` — sets of events.

#![allow(
    unsafe_code,
    reason = "this is a C interface: it exports unmangled names and writes through pointers"
)]

mod events;
mod fields;
mod health;
mod identity;
mod mig;
mod nvlink;
mod running;
mod system;
mod topology;
mod usage;

use std::ffi::{CStr, c_char, c_uint};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::code::Code;
use crate::library::{self, Target};

/// What every function answers.
type Answer = Result<(), Code>;

/// Makes the exported C functions. In the body, `FUNCTION` is the function's name.
macro_rules! nvml {
    ($(fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $kind),*) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            #[allow(dead_code, reason = "not every function names itself")]
            const FUNCTION: &str = stringify!($name);
            crate::ffi::guard(|| $body)
        }
    )*};
}
pub(crate) use nvml;

/// Answers as C functions do.
fn guard(answer: impl FnOnce() -> Answer) -> nvmlReturn_t {
    match catch_unwind(AssertUnwindSafe(answer)) {
        Ok(Ok(())) => 0,
        Ok(Err(code)) => code.0,
        Err(_) => Code::UNKNOWN.0,
    }
}

/// What a handle stands for, if the function can be called for it now.
fn device(function: &str, handle: nvmlDevice_t) -> Result<Target, Code> {
    library::device(function, handle.addr())
}

/// Where an answer goes. Exists only as an argument of an exported function, whose caller
/// promises a pointer that is null or points to enough of `T`.
#[repr(transparent)]
struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    fn set(&self, value: T) -> Answer {
        if self.0.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        // SAFETY: it is not null, and callers of NVML promise that it is valid for writes.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// What stands there already.
    fn get(&self) -> Result<T, Code> {
        if self.0.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        // SAFETY: it is not null, and callers of NVML promise that it holds a value.
        Ok(unsafe { self.0.read_unaligned() })
    }

    /// Writes the place `index` of an array that is long enough.
    fn set_at(&self, index: usize, value: T) -> Answer {
        Self(self.0.wrapping_add(index)).set(value)
    }

    /// Reads the place `index` of an array that is long enough.
    fn get_at(&self, index: usize) -> Result<T, Code> {
        Self(self.0.wrapping_add(index)).get()
    }
}

/// Writes a list into an array, or says how long it is.
fn list<T: Copy>(items: &[T], count: &Out<c_uint>, array: &Out<T>) -> Answer {
    let room = count.get()? as usize;
    count.set(c_uint::try_from(items.len()).unwrap_or(c_uint::MAX))?;
    if room < items.len() {
        return Err(Code::INSUFFICIENT_SIZE);
    }
    for (index, item) in items.iter().enumerate() {
        if array.0.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        array.set_at(index, *item)?;
    }
    Ok(())
}

/// Where a text goes, as [`Out`].
#[repr(transparent)]
struct Text(Out<c_char>);

impl Text {
    fn set(&self, text: &str, length: c_uint) -> Answer {
        let bytes = text.as_bytes();
        if bytes.len() >= length as usize {
            return Err(Code::INSUFFICIENT_SIZE);
        }
        if self.0.0.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        for (index, byte) in bytes.iter().chain(&[0]).enumerate() {
            self.0.set_at(index, c_char::from_ne_bytes([*byte]))?;
        }
        Ok(())
    }
}

/// A text of the caller: null, or ended by a zero.
#[repr(transparent)]
struct Name(*const c_char);

impl Name {
    fn get(&self) -> Result<String, Code> {
        if self.0.is_null() {
            return Err(Code::INVALID_ARGUMENT);
        }
        // SAFETY: it is not null, and callers of NVML promise that it is ended by a zero.
        let text = unsafe { CStr::from_ptr(self.0) };
        Ok(text.to_string_lossy().into_owned())
    }
}

/// A text in an array of fixed length, cut where it does not fit.
fn array<const LENGTH: usize>(text: &str) -> [c_char; LENGTH] {
    let mut array = [0; LENGTH];
    let room = LENGTH.saturating_sub(1);
    for (place, byte) in array.iter_mut().take(room).zip(text.bytes()) {
        *place = c_char::from_ne_bytes([byte]);
    }
    array
}

/// A handle as C has it.
fn pointer<T>(handle: usize) -> *mut T {
    std::ptr::without_provenance_mut(handle)
}
