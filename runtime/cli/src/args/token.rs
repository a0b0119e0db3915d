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
    #[arg(long, value_enum)]
    pub role: TokenRole,
    /// How long it lasts, such as 12h, 30d or P90D [default: for ever]
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
