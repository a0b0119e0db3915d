//! From the body of a cluster's PATCH to checked changes: `scaleSettings` as the service has it,
//! and Lote's own members.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{LOTE_READ_ONLY, check_lote, check_modes, check_scale};
use crate::body;
use crate::cluster::{ClusterProperties, LoteClusterProperties, ScaleSettings};
use crate::duration::Seconds;
use crate::money::Money;
use crate::problem::Problem;
use crate::spending::Budget;

/// What is to change of a cluster; the rest stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterUpdate {
    /// How many nodes it shall have.
    pub scale_settings: Option<ScaleSettings>,
    lote: LoteUpdate,
}

/// Changes of `properties.lote`: absent members stay, `null` takes one back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoteUpdate {
    #[serde(default)]
    idle_delay: Change<Seconds>,
    #[serde(default)]
    price_per_node_hour: Change<Money>,
    #[serde(default)]
    budget: Change<Budget>,
}

/// What is to become of a member that need not be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Change<T> {
    #[default]
    Keep,
    Set(T),
    Clear,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

impl<T: Copy> Change<T> {
    fn apply(&self, member: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(value) => *member = Some(*value),
            Self::Clear => *member = None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Members {
    #[serde(default)]
    scale_settings: Option<ScaleSettings>,
}

impl ClusterUpdate {
    /// Reads and checks the body of an update request.
    pub fn parse(request_body: &[u8]) -> Result<Self, Problem> {
        let mut members = body::properties(request_body, &[])?;
        let lote = members.remove("lote");
        if lote.is_none() && !members.contains_key("scaleSettings") {
            let message = "nothing is to change: give scaleSettings, lote, or both";
            return Err(Problem::invalid("/properties", message));
        }
        if let Some(problem) = members.get("scaleSettings").and_then(check_modes) {
            return Err(problem);
        }
        let members: Members = body::typed(body::without_nulls(members), "/properties")?;
        let findings = members.scale_settings.as_ref().map(check_scale);
        if let Some(problem) = findings.and_then(Problem::gather) {
            return Err(problem);
        }
        Ok(Self {
            scale_settings: members.scale_settings,
            lote: lote.map_or(Ok(LoteUpdate::default()), read_lote)?,
        })
    }

    /// The properties of a cluster after the change, checked as a whole.
    pub fn apply(&self, properties: &ClusterProperties) -> Result<ClusterProperties, Problem> {
        let mut changed = properties.clone();
        if let Some(scale) = &self.scale_settings {
            changed.scale_settings = scale.clone();
        }
        self.lote.apply(&mut changed.lote);
        Problem::gather(check_lote(&changed.lote)).map_or(Ok(changed), Err)
    }
}

fn read_lote(mut lote: Value) -> Result<LoteUpdate, Problem> {
    if let Value::Object(members) = &mut lote {
        without_answers(members);
    }
    body::typed(lote, "/properties/lote")
}

/// Takes out what only answers say, because clients send answers back.
pub(super) fn without_answers(members: &mut Map<String, Value>) {
    members.retain(|name, _| !LOTE_READ_ONLY.contains(&name.as_str()));
}

impl LoteUpdate {
    fn apply(&self, lote: &mut LoteClusterProperties) {
        self.idle_delay.apply(&mut lote.idle_delay);
        self.price_per_node_hour
            .apply(&mut lote.price_per_node_hour);
        self.budget.apply(&mut lote.budget);
    }
}
