//! `lote token`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::job::duration;

/// `lote token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, this once; --group and --workspace say how far it reaches
    Create(CreateTokenArgs),
    /// List the tokens, also those that were revoked or have expired
    List,
    /// Take a token back; it stops working at once
    Revoke {
        /// Its id, or the token itself
        #[arg(value_name = "ID")]
        id: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// `lote token create`.
#[derive(Debug, Args)]
pub struct CreateTokenArgs {
    /// What to call it, such as whose it is
    #[arg(long)]
    pub name: Option<String>,
    /// What it may
    #[arg(long, value_enum, required_unless_present = "node")]
    pub role: Option<TokenRole>,
    /// It lets machines join the cluster, and does nothing else; lasts a day unless told otherwise
    #[arg(long, conflicts_with = "role")]
    pub node: bool,
    /// How many machines may join with it [default: any number]
    #[arg(long, value_name = "N", requires = "node")]
    pub uses: Option<u32>,
    /// How long it lasts, such as 12h, 30d or P90D [default: for ever, with --node a day]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub expires_in: Option<Duration>,
}

/// The roles of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Reads, and changes nothing
    Reader,
    /// Also submits, changes, ends and deletes
    Contributor,
    /// Also makes tokens, and administers groups and nodes
    Admin,
}

impl CreateTokenArgs {
    /// The role's name on the wire.
    pub fn role(&self) -> &'static str {
        self.role
            .map_or(lote_model::access::Role::Node.as_str(), TokenRole::as_str)
    }
}

impl TokenRole {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        use lote_model::access::Role;
        match self {
            Self::Reader => Role::Reader,
            Self::Contributor => Role::Contributor,
            Self::Admin => Role::Admin,
        }
        .as_str()
    }
}
