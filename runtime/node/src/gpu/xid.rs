//! What the errors mean that the driver numbers (XID), and what is done about each.
//!
//! From NVIDIA's published catalogue (`docs.nvidia.com/deploy/xid-errors`), the column of the
//! immediate action: what restarts an application is its own business and a note; what asks for
//! a reset takes the GPU out of use; what asks for a restart of the machine without naming a GPU
//! takes the node out of use.

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Worth knowing.
    Note,
    /// No job gets the GPU.
    Quarantine,
    /// No job gets the node.
    Drain,
}

/// One error of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Xid {
    /// What happened, in a sentence without its full stop.
    pub(super) sentence: &'static str,
    pub(super) severity: Severity,
    /// Whether a job that has the GPU cannot go on.
    pub(super) fails_job: bool,
    /// What to do about it.
    pub(super) advice: &'static str,
}

/// The error of a GPU that is off the bus, which has a condition of its own.
pub(super) const FELL_OFF_BUS: u64 = 79;

/// The error of memory that only one program used.
pub(super) const CONTAINED: u64 = 94;

const LOOK_AT_JOB: &str = "look for the fault in the job's program first";
const NOTHING: &str = "nothing needs to be done";
const RESET: &str = "reset the GPU (nvidia-smi --gpu-reset) or restart the machine";
const RESET_OR_REPLACE: &str =
    "reset the GPU or restart the machine; have it replaced if this comes back";
const RESTART: &str = "restart the machine; have the GPU replaced if this comes back";
const WATCH: &str = "watch whether it comes back";
const UPDATE: &str = "update the driver if this comes back";

/// An error of the application: the driver ended what it ran, and all is well again.
const fn application(sentence: &'static str) -> Xid {
    Xid {
        sentence,
        severity: Severity::Note,
        fails_job: false,
        advice: LOOK_AT_JOB,
    }
}

const fn note(sentence: &'static str, advice: &'static str) -> Xid {
    Xid {
        sentence,
        severity: Severity::Note,
        fails_job: false,
        advice,
    }
}

/// The GPU works on, and is to be reset before the next job.
const fn worn(sentence: &'static str, advice: &'static str) -> Xid {
    Xid {
        sentence,
        severity: Severity::Quarantine,
        fails_job: false,
        advice,
    }
}

/// The GPU is of no use until it is reset.
const fn broken(sentence: &'static str, advice: &'static str) -> Xid {
    Xid {
        sentence,
        severity: Severity::Quarantine,
        fails_job: true,
        advice,
    }
}

/// Looks an error up; one that is in no catalogue is a note.
#[expect(clippy::too_many_lines, reason = "a table, one line for each")]
pub(super) const fn lookup(number: u64) -> Xid {
    match number {
        8 => application("the GPU stopped working on what it was given"),
        11 | 32 | 80 => application("the commands sent to the GPU were damaged or not valid"),
        13 => application("a program of the GPU did something that is not allowed"),
        31 => application("a program of the GPU used memory that is not its own"),
        37 | 39..=41 | 69..=72 | 75..=77 | 85 | 126..=135 => {
            application("a copy engine or compute engine of the GPU met an error")
        }
        42 | 65 | 68 | 82..=84 | 86 | 88 | 89 | 96..=105 | 139 | 142 => {
            application("a video engine of the GPU met an error")
        }
        43 => application("what ran on the GPU was stopped"),
        45 => application("what ran on the GPU was cleaned up after its program ended"),
        44 => note(
            "the graphics engine met a fault while it changed programs",
            UPDATE,
        ),
        46 => broken("the GPU stopped answering", RESET),
        48 => broken(
            "memory of the GPU was damaged and could not be corrected",
            RESET_OR_REPLACE,
        ),
        54 => broken("the GPU's power cable is not connected", RESTART),
        61 => worn("the GPU's own controller met an error", RESET),
        62 => broken("the GPU's own controller has stopped", RESET_OR_REPLACE),
        63 => note(
            "a damaged part of the GPU's memory is set aside at the next reset",
            NOTHING,
        ),
        64 => worn(
            "a damaged part of the GPU's memory could not be set aside",
            RESET_OR_REPLACE,
        ),
        66 | 67 => application("the program used the driver in a way that is not allowed"),
        74 => worn(
            "an NVLink of the GPU met an error",
            "reset the GPUs of the machine; look at the connectors if this comes back",
        ),
        78 => note("a virtual GPU could not be started", UPDATE),
        FELL_OFF_BUS => broken("the GPU has fallen off the bus", RESTART),
        92 => note("many errors of the GPU's memory had to be corrected", WATCH),
        93 => note("the GPU's own store is written too often", WATCH),
        CONTAINED => Xid {
            sentence: "memory of the GPU was damaged, and only what used it is affected",
            severity: Severity::Note,
            fails_job: true,
            advice: WATCH,
        },
        95 => broken(
            "memory of the GPU was damaged, and all that ran on it may be affected",
            RESET_OR_REPLACE,
        ),
        109 => broken("the GPU did not change to another program in time", RESET),
        110 => broken("the GPU found a fault of its security", RESET),
        119 => broken("the GPU's system processor does not answer", RESET),
        120 => broken("the GPU's system processor met an error", RESET),
        121 => note(
            "the link between the GPU and the processor was corrected",
            WATCH,
        ),
        123 => worn("the GPU's power management met an error", RESET),
        136 => worn(
            "the NVLinks of the GPU could not be set up",
            RESET_OR_REPLACE,
        ),
        137 => application("a GPU at the other end of an NVLink refused an access"),
        140 => broken(
            "the GPU met an error of its memory that nothing has caught",
            RESET_OR_REPLACE,
        ),
        143 => broken("the GPU could not be started", RESET_OR_REPLACE),
        144..=150 => worn(
            "an NVLink of the GPU met an error",
            "reset the GPUs of the machine; look at the connectors if this comes back",
        ),
        151 => Xid {
            sentence: "the keys of confidential computing could not be changed",
            severity: Severity::Drain,
            fails_job: true,
            advice: "restart the machine",
        },
        154 => note(
            "the driver has changed what it recommends for the GPU",
            "look at nvidia-smi -q for its recovery action",
        ),
        155 => worn("an NVLink of the GPU was switched off", RESET),
        156 => worn(
            "a worn part of the GPU is set aside at the next reset",
            RESET,
        ),
        157 => note("a worn part of the GPU could not be set aside", WATCH),
        158 => broken("the GPU does not answer any more", RESET_OR_REPLACE),
        167 => Xid {
            sentence: "an access over PCIe never ended",
            severity: Severity::Drain,
            fails_job: true,
            advice: RESTART,
        },
        171 => worn(
            "memory of the GPU was damaged and could not be corrected",
            RESET_OR_REPLACE,
        ),
        172 => broken(
            "memory inside the GPU's processor was damaged and could not be corrected",
            RESET_OR_REPLACE,
        ),
        _ => note(
            "the driver reported an error that is in no list here",
            "look it up in NVIDIA's catalogue of XID errors",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_applications_keep_no_gpu_from_jobs() {
        for number in [8, 13, 31, 32, 43, 45, 63, 69, 92, 94, 121, 154, 4711] {
            assert_eq!(lookup(number).severity, Severity::Note, "{number}");
        }
        for number in [13, 31, 43, 45, 4711] {
            assert!(!lookup(number).fails_job, "{number}");
        }
    }

    #[test]
    fn errors_that_need_a_reset_take_the_gpu_out_of_use() {
        for number in [
            48, 62, 64, 74, 79, 95, 109, 119, 120, 140, 143, 149, 155, 158,
        ] {
            assert_eq!(lookup(number).severity, Severity::Quarantine, "{number}");
        }
        for number in [48, 62, 79, 94, 95, 119, 120, 140, 143, 158] {
            assert!(lookup(number).fails_job, "{number}");
        }
        assert!(!lookup(74).fails_job && !lookup(64).fails_job);
        assert_eq!(lookup(167).severity, Severity::Drain);
    }

    #[test]
    fn every_error_has_a_sentence_and_advice_without_a_full_stop() {
        for number in 0..=200 {
            let Xid {
                sentence, advice, ..
            } = lookup(number);
            for text in [sentence, advice] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{number}: {text}");
            }
        }
    }
}
