//! Faults of the leader, planted to see that the simulator finds them.
//!
//! Only a build with the feature `planted` has them, and of these only the one that the variable
//! `LOTE_PLANTED` names is in force.

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "planted", derive(serde::Deserialize))]
#[cfg_attr(feature = "planted", serde(rename_all = "kebab-case"))]
pub(crate) enum Fault {
    /// A leader writes although it leads no more.
    SkipFencing,
    /// A gang starts without its last node.
    SplitGang,
    /// Some reports of nodes are not heard.
    ForgetReport,
    /// Drained nodes take jobs.
    IgnoreDrain,
    /// What a cluster has cost is counted twice.
    DoubleBudget,
    /// File servers are withdrawn while jobs have them mounted.
    EarlyWithdrawal,
}

impl Fault {
    /// Whether it is in force.
    pub(crate) fn is_planted(self) -> bool {
        chosen() == Some(self)
    }
}

#[cfg(not(feature = "planted"))]
const fn chosen() -> Option<Fault> {
    None
}

#[cfg(feature = "planted")]
fn chosen() -> Option<Fault> {
    use std::sync::LazyLock;

    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    /// Names the fault that is in force.
    const CHOICE: &str = "LOTE_PLANTED";
    static CHOSEN: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let name = std::env::var(CHOICE).ok()?;
        let fault = Fault::deserialize(name.clone().into_deserializer());
        // Ends the simulator at once: a seed that fails because of this would look like a find.
        Some(fault.unwrap_or_else(|error: Error| {
            eprintln!("{CHOICE}={name}: {error}");
            std::process::exit(2)
        }))
    });
    *CHOSEN
}
