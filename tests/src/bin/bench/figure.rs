//! A measured value, the table and the JSON.

use std::fmt;

use serde_json::{Value, json};

use crate::machine::Machine;

/// What a value should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// A measured value.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) goal: Option<Goal>,
    /// Processes per second that the machine could start at that time.
    pub(crate) fork_limit: f64,
    /// How it was measured, if the name does not say everything.
    pub(crate) note: String,
}

impl Figure {
    pub(crate) fn new(
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        fork_limit: f64,
    ) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            goal: None,
            fork_limit,
            note: String::new(),
        }
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn verdict(&self) -> &'static str {
        match self.goal {
            None => "",
            Some(Goal::AtLeast(goal)) if self.value >= goal => "met",
            Some(Goal::AtMost(goal)) if self.value <= goal => "met",
            Some(_) => "missed",
        }
    }

    fn json(&self) -> Value {
        let goal = self.goal.map(|goal| match goal {
            Goal::AtLeast(value) => json!({"atLeast": value}),
            Goal::AtMost(value) => json!({"atMost": value}),
        });
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": goal,
            "forkLimitPerSecond": self.fork_limit.round(),
            "note": self.note,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(value) => write!(formatter, "≥ {value}"),
            Self::AtMost(value) => write!(formatter, "≤ {value}"),
        }
    }
}

/// Everything measured in one run.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Value,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(machine: &Machine) -> Self {
        Self {
            machine: machine.json(),
            figures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, figures: Vec<Figure>) {
        self.figures.extend(figures);
    }

    pub(crate) fn json(&self) -> String {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        format!(
            "{:#}\n",
            json!({"machine": self.machine, "figures": figures})
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "\n{:<52} {:>10} {:<6} {:>8} {:<7} {:>11}  how",
            "what", "value", "unit", "goal", "", "fork limit"
        )?;
        for figure in &self.figures {
            writeln!(
                formatter,
                "{:<52} {:>10} {:<6} {:>8} {:<7} {:>9.0}/s  {}",
                figure.name,
                shown(figure.value),
                figure.unit,
                figure.goal.map(|goal| goal.to_string()).unwrap_or_default(),
                figure.verdict(),
                figure.fork_limit,
                figure.note,
            )?;
        }
        Ok(())
    }
}

/// Three digits that mean something.
fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
